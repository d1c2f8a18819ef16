"""The error that an unusable checkpoint raises."""

from jax_vtm.errors import UserError


class CheckpointError(UserError):
    """A checkpoint cannot be found, cannot be read, or does not fit the model.

    The message names the file, what was found in it, what was expected and, where it can be guessed, what the
    difference probably means.
    """
