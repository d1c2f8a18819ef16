"""The commands of `main.py`, a file or a folder for each: reads a config and calls the packages above."""
