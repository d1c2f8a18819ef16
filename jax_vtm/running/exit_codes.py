"""What the process's exit code says."""

from jax_vtm.errors import Stopped, UserError

SUCCESS, FAILURE, MISTAKE, TOO_MANY_FAILED, STOPPED = 0, 1, 2, 3, 4

# Of `compare`: the same code, since it is for the same reason that the answer is not about all videos.
VIDEOS_MISSING = TOO_MANY_FAILED


def exit_code(error: BaseException) -> int:
    """Returns the exit code of a command that an exception ends."""
    if isinstance(error, UserError):
        return MISTAKE
    return STOPPED if isinstance(error, Stopped) else FAILURE
