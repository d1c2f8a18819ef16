"""`main.py compare`: two sets of predictions of the same videos."""

from jax_vtm.commands.compare.command import run

__all__ = ["run"]
