"""From pixels to patch tokens: patches do not overlap, so that a reshape and one matrix product make them."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

Video = Float[Array | np.ndarray, "B T H W 3"] | Float[Array | np.ndarray, "B T H X"]
"""Pixels; X = W * 3 columns and colours in one axis."""

Sampled = Float[Array | np.ndarray, "B t H W 3"] | Float[Array | np.ndarray, "B t H X"]
"""The frames of a video that become tokens, all or fewer."""

Patches = Float[Array | np.ndarray, "B t h w P"]
"""The P numbers of every patch."""


def folded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns [..., W * 3] of a shape [..., W, 3].

    Three colours as the innermost axis do not fit a TPU's registers of 128 numbers: frames would be laid out anew.
    """
    return (*shape[:-2], shape[-2] * shape[-1])


def cut_patches(video: Video, size: tuple[int, ...]) -> Patches:
    """Returns the pixels of every patch.

    Args:
        video: The video.
        size: Of a patch: (frames, height, width), or (height, width) of one frame. A rest of the video that does not
            fill a patch is left out.
    """
    depth, height, width = (1, *size)[-3:]
    video = video.reshape(*video.shape[:3], -1)
    batch, *lengths = video.shape
    grid = tuple(length // part for length, part in zip(lengths, (depth, height, width * 3), strict=True))
    video = video[:, : grid[0] * depth, : grid[1] * height, : grid[2] * width * 3]
    patches = video.reshape(batch, grid[0], depth, grid[1], height, grid[2], width * 3)
    return patches.transpose(0, 1, 3, 5, 2, 4, 6).reshape(batch, *grid, -1)


class PatchEmbedding(nn.Module):
    """Projects each patch to one token. Parameters as of `flax.linen.Conv`: kernel [*size, 3, C] and bias [C].

    Attributes:
        features: C.
        size: Of a patch.
    """

    features: int
    size: tuple[int, ...]

    @nn.compact
    def __call__(self, patches: Float[Array | np.ndarray, "*B P"]) -> Float[Array, "*B C"]:
        """Returns the tokens, float32."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (*self.size, 3, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return jnp.dot(patches, kernel.reshape(-1, self.features)) + bias
