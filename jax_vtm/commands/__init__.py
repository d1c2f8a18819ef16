"""One file per command of `main.py`: reads a config and calls the packages above. Imports them when it runs."""
