"""How a command ends: the exceptions that are no fault of the program, exit codes, and how names stand in messages."""

import re
from collections.abc import Iterable

SUCCESS, FAILURE, MISTAKE, TOO_MANY_FAILED, STOPPED = 0, 1, 2, 3, 4

# Of `compare`: the same code, since it is for the same reason that the answer is not about all videos.
VIDEOS_MISSING = TOO_MANY_FAILED

# Of a message, in characters.
LONGEST_LINE = 1500


def shown(name: object) -> str:
    r"""Writes a name that comes from a file or a folder so that a terminal shows it and obeys nothing in it.

    Control characters, line breaks, marks that change the direction of writing, and bytes that are not UTF-8 are
    escaped: `\x1b`, `\n`, `\u202e`, `\xff`. Everything that can be seen stays as it is, in whatever script.
    """
    text = str(name)
    return text if text.isprintable() else "".join(map(_shown_character, text))


def listed(names: Iterable[object], limit: int = 20) -> str:
    """The first names, and how many more there are."""
    texts = list(map(str, names))
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _shown_character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # how Python spells a byte of a file's name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _shortened(line: str) -> str:
    """Leaves out the middle of a line that nobody would read, such as one with a number of 5,000 digits."""
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} [... {len(line) - 2 * half} characters ...] {line[-half:]}"


class UserError(ValueError):
    """Something the user gave cannot be used: a file, a value, a combination of settings.

    The message names the file or value, what was found, what was expected and what to do. The command line prints
    it without a traceback and exits with code 2. Names in it are `shown`, and very long ones shortened; line breaks
    alone remain, since some messages are lists. A name that may hold line breaks is given as `shown(name)` or
    `{name!r}`.
    """

    def __init__(self, message: str):
        brief = re.sub(r"\S{300,}", lambda word: f"{word[0][:200]}...{word[0][-60:]}", message)
        super().__init__("\n".join(map(shown, brief.split("\n"))))


class Stopped(Exception):
    """The process was told to end before it was done; what it had finished is kept.

    The command line prints the message without a traceback and exits with code 4: the same command goes on.
    """


class ProcessFailed(Exception):
    """Another process of the job, or this one's part in it, cannot go on; the message says which and why.

    The command line prints the message without a traceback and exits with code 1: the same command goes on.
    """


def exit_code(error: BaseException) -> int:
    """Returns the exit code of a command that an exception ends."""
    if isinstance(error, UserError):
        return MISTAKE
    return STOPPED if isinstance(error, Stopped) else FAILURE
