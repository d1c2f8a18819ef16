"""`main.py benchmark`: models timed side by side."""

from jax_vtm.commands.benchmark.command import run

__all__ = ["run"]
