"""Scaled dot-product attention with a bias per key."""

from jaxtyping import Array, Float

from jax_vtm.merging.backends.choice import Backends, Kernel, Measured
from jax_vtm.models.attention.chunked import chunked_attention
from jax_vtm.models.attention.cudnn import cudnn_attention
from jax_vtm.models.attention.plain import plain_attention
from jax_vtm.models.attention.tpu_flash import tpu_flash_attention

_COMPUTE = {
    "xla": plain_attention,
    "chunked": chunked_attention,
    "cudnn": cudnn_attention,
    "tpu_flash": tpu_flash_attention,
}
ATTENTION = Backends(
    "attention",
    ("xla", "chunked"),
    on_cpu="chunked",
    elsewhere="xla",
    kernels={
        "cudnn": Kernel(("gpu",), "an NVIDIA GPU", ("bfloat16", "float16")),
        "tpu_flash": Kernel(("tpu",), "a TPU", ("bfloat16",)),
    },
)
BACKENDS, choose_backend = ATTENTION.names, ATTENTION.choose


def attend(
    query: Float[Array, "*B T H D"],
    key: Float[Array, "*B S H D"],
    value: Float[Array, "*B S H D"],
    key_bias: Float[Array, "*B S"] | None = None,
    *,
    backend: str | Measured = "auto",
    platform: str | None = None,
) -> Float[Array, "*B T H D"]:
    """Returns softmax(query key^T / sqrt(D) + key_bias) value per head, the softmax in float32.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        key_bias: Added to every query's score of a key, for example log(size) in proportional attention. Finite.
        backend: "xla" writes all scores [*B, H, T, S] to memory; "chunked" holds a tile of them at a time, which is
            faster on a CPU; "cudnn" and "tpu_flash" are fused kernels that never write any, in bfloat16; "auto" is
            "chunked" on a CPU and "xla" elsewhere.
        platform: For which the program is made; None is the one that JAX runs on.

    Raises:
        UserError: An unknown backend, or one that this platform or type does not have.
    """
    shape = (query.shape[-3], *key.shape[-3:])
    compute = _COMPUTE[choose_backend(backend, platform, dtype=query.dtype, shape=shape)]
    batch = query.shape[:-3]
    query, key, value = (part.reshape(-1, *part.shape[-3:]) for part in (query, key, value))
    if key_bias is not None:
        key_bias = key_bias.reshape(-1, key_bias.shape[-1])
    attended = compute(query, key, value, key_bias)
    return attended.reshape(*batch, *attended.shape[1:])
