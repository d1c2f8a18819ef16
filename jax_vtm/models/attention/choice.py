"""Which of the ways to compute attention is taken, and why one that was asked for cannot be."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_vtm.errors import UserError

BACKENDS = ("auto", "xla", "chunked", "cudnn", "tpu_flash")

# What a fused kernel runs on, and the types that it computes in.
_NEEDS = {
    "cudnn": ("gpu", "an NVIDIA GPU", ("bfloat16", "float16")),
    "tpu_flash": ("tpu", "a TPU", ("bfloat16",)),
}


def choose_backend(asked: str, dtype: DTypeLike | None = None, platform: str | None = None) -> str:
    """Returns the way in which attention is computed: "xla", "chunked", "cudnn" or "tpu_flash".

    Args:
        asked: One of `BACKENDS`. "auto" is "chunked" on a CPU and "xla" elsewhere. The fused kernels have to be asked
            for: their arithmetic is tested, but they have not run on the devices that they are for.
        dtype: Type in which attention computes; None is float32.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.

    Raises:
        UserError: An unknown name, or a kernel that this platform or type does not have.
    """
    if asked not in BACKENDS:
        raise UserError(f"attention is {asked!r}; known are {', '.join(BACKENDS)}.")
    platform = platform or jax.default_backend()
    if asked == "auto":
        return "chunked" if platform == "cpu" else "xla"
    if asked in _NEEDS:
        needed, described, dtypes = _NEEDS[asked]
        if platform != needed:
            raise UserError(
                f"attention is {asked!r}, which needs {described}, but JAX runs on {platform!r} here. Use 'auto', "
                "'xla' or 'chunked', which run everywhere."
            )
        found = jnp.dtype(dtype or jnp.float32).name
        if found not in dtypes:
            raise UserError(
                f"attention is {asked!r}, which computes in {' or '.join(dtypes)}, but the model's dtype is {found}. "
                f"Set the dtype to {dtypes[0]}, or use 'auto', 'xla' or 'chunked'."
            )
    return asked
