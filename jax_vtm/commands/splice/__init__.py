"""`main.py splice`: another video's tubelets in clips."""

from jax_vtm.commands.splice.command import run

__all__ = ["run"]
