"""Which backend computes something, and why one that was asked for cannot."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_vtm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What a fused kernel runs on, in words too, and the types that it computes in; none are any."""

    platforms: tuple[str, ...]
    described: str
    dtypes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Backends:
    """The ways to compute one thing, of which "auto" takes one.

    Fused kernels have to be asked for: their arithmetic is tested, but they have not run on the devices that they are
    for.

    Attributes:
        what: Is computed, as configs call it.
        everywhere: Backends that run on every platform.
        on_cpu: What "auto" is on a CPU.
        elsewhere: What it is on a GPU or a TPU.
        kernels: Backends that do not run everywhere.
    """

    what: str
    everywhere: tuple[str, ...]
    on_cpu: str
    elsewhere: str
    kernels: Mapping[str, Kernel] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for, "auto" first."""
        return ("auto", *self.everywhere, *self.kernels)

    def choose(self, asked: str, platform: str | None = None, *, dtype: DTypeLike | None = None) -> str:
        """Returns the backend, "auto" resolved.

        Args:
            asked: One of `names`.
            platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.
            dtype: Type in which it computes; None is float32.

        Raises:
            UserError: An unknown name, or a kernel that this platform or type does not have.
        """
        if asked not in self.names:
            raise UserError(f"{self.what} is {asked!r}; known are {', '.join(self.names)}.")
        platform = platform or jax.default_backend()
        if asked == "auto":
            return self.on_cpu if platform == "cpu" else self.elsewhere
        if asked not in self.kernels:
            return asked
        kernel, found = self.kernels[asked], jnp.dtype(dtype or jnp.float32).name
        instead = "'auto', 'xla' or 'chunked'"
        if platform not in kernel.platforms:
            raise UserError(
                f"{self.what} is {asked!r}, which needs {kernel.described}, but JAX runs on {platform!r} here. Use "
                f"{instead}, which run everywhere."
            )
        if kernel.dtypes and found not in kernel.dtypes:
            raise UserError(
                f"{self.what} is {asked!r}, which computes in {' or '.join(kernel.dtypes)}, but the model's dtype is "
                f"{found}. Set the dtype to {kernel.dtypes[0]}, or use {instead}."
            )
        return asked
