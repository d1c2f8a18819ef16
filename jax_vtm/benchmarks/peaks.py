"""What the machine can do at most, as far as two simple programs show: one large matrix product, one large copy."""

import dataclasses

import jax
import jax.numpy as jnp

from jax_vtm.benchmarks.program import compiled
from jax_vtm.benchmarks.rounds import Measured, timed


@dataclasses.dataclass(frozen=True)
class Peak:
    """A program that does as much as it can of one thing.

    Attributes:
        description: What it does.
        measured: Does it.
        amount: Multiply-accumulates, or bytes read and written, of doing it once.
        unit: "MAC" or "byte".
    """

    description: str
    measured: Measured
    amount: int
    unit: str


def matrix_product(size: int, dtype: str) -> Peak:
    """A product of two square matrices, at the precision at which models multiply."""
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    program = compiled(jnp.matmul, a, a).run
    call = timed(lambda: jax.block_until_ready(program(a, a)))
    return Peak(f"{size} x {size} matrix product, {dtype}", call, size**3, "MAC")


def copy(num_bytes: int) -> Peak:
    """A pass over an array that reads and writes all of it."""
    array = jnp.ones(num_bytes // 4, jnp.float32)
    program = compiled(lambda values: values + 1, array).run
    call = timed(lambda: jax.block_until_ready(program(array)))
    return Peak(f"copy of {num_bytes / 2**20:.0f} MiB, counted twice", call, 2 * num_bytes, "byte")
