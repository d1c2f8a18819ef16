"""Moved to `jax_vtm.errors`; gone with the rest of this package."""

from jax_vtm.errors import FAILURE, MISTAKE, STOPPED, SUCCESS, TOO_MANY_FAILED, VIDEOS_MISSING, exit_code

__all__ = ["FAILURE", "MISTAKE", "STOPPED", "SUCCESS", "TOO_MANY_FAILED", "VIDEOS_MISSING", "exit_code"]
