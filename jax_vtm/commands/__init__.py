"""The other commands, the table of commands, and `--help`."""
