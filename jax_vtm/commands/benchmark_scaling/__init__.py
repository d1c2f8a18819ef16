"""`main.py benchmark_scaling`: what spreading over devices and processes costs by itself."""

from jax_vtm.commands.benchmark_scaling.command import run

__all__ = ["run"]
