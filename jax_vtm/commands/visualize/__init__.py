"""`main.py visualize`: which tokens of a video become one."""

from jax_vtm.commands.visualize.command import run

__all__ = ["run"]
