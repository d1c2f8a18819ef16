"""The one exception type that a user's mistake raises."""


class UserError(ValueError):
    """Something the user gave cannot be used: a file, a value, a combination of settings.

    The message names the file or value, what was found, what was expected and what to do. The command line prints
    it without a traceback and exits with code 2.
    """
