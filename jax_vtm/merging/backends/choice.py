"""Which backend computes something, and why one that was asked for cannot."""

import dataclasses
import math
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
class Measured:
    """What was measured to be the fastest backend at some shapes, in the place of a backend's name.

    Attributes:
        at: Shapes and their backends, the largest first.
        said: A line for each: which backend is how much faster than others, and which were left out.
    """

    at: tuple[tuple[tuple[int, ...], str], ...]
    said: tuple[str, ...] = ()

    def nearest(self, shape: tuple[int, ...] = ()) -> str:
        """Returns the backend of the shape whose sizes are most like these; of none, that of the largest."""

        def distance(entry: tuple[tuple[int, ...], str]) -> float:
            return sum(abs(math.log(ours / theirs)) for ours, theirs in zip(shape, entry[0], strict=False))

        return min(self.at, key=distance)[1]


@dataclasses.dataclass(frozen=True)
class Backends:
    """The ways to compute one thing, of which "auto" takes one.

    Kernels have not run on the devices that they are for: "auto" takes one only where its compiler's account says so.

    Attributes:
        what: Is computed, as configs call it.
        everywhere: Backends that run on every platform.
        on_cpu: What "auto" is on a CPU.
        elsewhere: What it is on a GPU or a TPU.
        on_tpu: What it is on a TPU, if that is something else.
        kernels: Backends that do not run everywhere.
    """

    what: str
    everywhere: tuple[str, ...]
    on_cpu: str
    elsewhere: str
    on_tpu: str = ""
    kernels: Mapping[str, Kernel] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for, "auto" first."""
        return ("auto", *self.everywhere, *self.kernels)

    def kernel(self, platform: str | None, dtype: DTypeLike | None) -> str | None:
        """Returns the first kernel that a platform has for a type, if there is one; arguments as of `choose`."""
        platform, name = platform or jax.default_backend(), jnp.dtype(dtype or jnp.float32).name
        suiting = (key for key, one in self.kernels.items() if platform in one.platforms and name in one.dtypes)
        return next(suiting, None)

    def choose(
        self,
        asked: str | Measured,
        platform: str | None = None,
        *,
        dtype: DTypeLike | None = None,
        shape: tuple[int, ...] = (),
    ) -> str:
        """Returns the backend, "auto" resolved.

        Args:
            asked: One of `names`, or what was measured.
            platform: "cpu", "gpu" or "tpu", for which the program is made; None is the one that JAX runs on, which is
                asked for only where the choice depends on it.
            dtype: Type in which it computes; None is float32.
            shape: Of what is computed, as it was measured.

        Raises:
            UserError: An unknown name, or a kernel that this platform or type does not have.
        """
        if isinstance(asked, Measured):
            asked = asked.nearest(shape)
        if asked not in self.names:
            raise UserError(f"{self.what} is {asked!r}; known are {', '.join(self.names)}.")
        if asked in self.everywhere:
            return asked
        platform = platform or jax.default_backend()
        if asked == "auto":
            return {"cpu": self.on_cpu, "tpu": self.on_tpu or self.elsewhere}.get(platform, self.elsewhere)
        kernel, found = self.kernels[asked], jnp.dtype(dtype or jnp.float32).name
        *others, last = map(repr, ("auto", *self.everywhere))
        instead = f"{', '.join(others)} or {last}"
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
