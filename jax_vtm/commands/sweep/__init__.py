"""`main.py sweep`: many reductions of a model."""

from jax_vtm.commands.sweep.command import run

__all__ = ["run"]
