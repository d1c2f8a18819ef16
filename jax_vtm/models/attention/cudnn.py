"""Attention by cuDNN's fused kernel, on NVIDIA GPUs, in bfloat16 or float16.

cuDNN takes a bias only as a matrix of all queries and keys. A bias per key goes through extra channels instead, which
need no memory to speak of.
"""

import jax
from jaxtyping import Array, Float

from jax_vtm.errors import UserError
from jax_vtm.models.attention.extra_channels import NUM_PARTS, pad_channels, with_bias_channels

# cuDNN's rules for the channels of a head.
CHANNELS_MULTIPLE = 8
MAX_CHANNELS = 128
MAX_WIDTH = MAX_CHANNELS - NUM_PARTS


def cudnn_attention(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None = None,
) -> Float[Array, "B T H D"]:
    """Attends; arguments as of `attend`.

    Raises:
        UserError: Heads that are wider than cuDNN takes on every GPU.
    """
    width = query.shape[-1]
    query, key, value, scale = prepare(query, key, value, key_bias)
    attended = jax.nn.dot_product_attention(query, key, value, scale=scale, implementation="cudnn")
    return attended[..., :width]


def prepare(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None,
) -> tuple[Float[Array, "B T H E"], Float[Array, "B S H E"], Float[Array, "B S H E"], float]:
    """Returns queries, keys, values and scale for a kernel without a bias; all have as many channels."""
    width = query.shape[-1]
    scale = width**-0.5
    if width > MAX_WIDTH:
        raise UserError(
            f"attention is 'cudnn', which takes heads of up to {MAX_CHANNELS} channels, {NUM_PARTS} of them for the "
            f"sizes of tokens; the model's have {width}. Use 'auto', 'xla' or 'chunked'."
        )
    if key_bias is not None:
        query, key = with_bias_channels(query, key, key_bias, scale)
    query, key = pad_channels(query, CHANNELS_MULTIPLE), pad_channels(key, CHANNELS_MULTIPLE)
    return query, key, pad_channels(value, query.shape[-1]), scale
