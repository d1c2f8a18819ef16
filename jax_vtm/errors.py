"""The exceptions that end a command without being a fault of the program."""


class UserError(ValueError):
    """Something the user gave cannot be used: a file, a value, a combination of settings.

    The message names the file or value, what was found, what was expected and what to do. The command line prints
    it without a traceback and exits with code 2.
    """


class Stopped(Exception):
    """The process was told to end before it was done; what it had finished is kept.

    The command line prints the message without a traceback and exits with code 4: the same command goes on.
    """
