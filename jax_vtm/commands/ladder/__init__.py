"""`main.py ladder`: our models beside PyTorch's, layer by layer."""

from jax_vtm.commands.ladder.command import run

__all__ = ["run"]
