"""Mixup and cutmix: every clip with the one at the same place from the end of the batch.

Sources: `mixup` of Scenic's dataset_lib/dataset_utils.py, and VideoMAE's mixup.py, whose modes "elem" and "pair" are
timm's: there is no recording of these two.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

CUTMIX_SHARE = 0.5


def mixing_weights(
    key: PRNGKeyArray, height: int, width: int, mixup: float, cutmix: float = 0.0
) -> Float[Array, "H W"]:
    """Draws what each pixel of the clip itself weighs; the partner's has the rest.

    Args:
        key: Random.
        height: H.
        width: W.
        mixup: Parameter of the Beta distribution of one weight for all pixels; 0 for none.
        cutmix: Parameter of that of the area outside of a box, in which the partner is seen; 0 for none. With both,
            either is drawn half of the time.
    """
    if not cutmix:
        return jnp.full((height, width), jax.random.beta(key, mixup, mixup))
    choice, place, *keys = jax.random.split(key, 4)
    cut = _outside_of_box(place, height, width, jax.random.beta(keys[0], cutmix, cutmix))
    if not mixup:
        return cut
    blended = jnp.full((height, width), jax.random.beta(keys[1], mixup, mixup))
    return jnp.where(jax.random.uniform(choice) < CUTMIX_SHARE, cut, blended)


def weights_of_clips(
    mode: str, key: PRNGKeyArray, count: int, height: int, width: int, mixup: float, cutmix: float
) -> Float[Array, "B H W"] | Float[Array, "H W"]:
    """Draws weights for a batch: "batch" once, "pair" once for a clip and its partner, "elem" for each clip."""
    if mode == "batch":
        return mixing_weights(key, height, width, mixup, cutmix)
    numbers = jnp.arange(count)
    if mode == "pair":
        numbers = jnp.minimum(numbers, numbers[::-1])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    return jax.vmap(lambda key: mixing_weights(key, height, width, mixup, cutmix))(keys)


def _outside_of_box(key: PRNGKeyArray, height: int, width: int, area: Float[Array, ""]) -> Float[Array, "H W"]:
    """1 outside of a box of about that area, which is cut at the border of the picture; its centre is anywhere."""

    def inside(key: PRNGKeyArray, size: int) -> Array:
        half = jnp.floor(size * jnp.sqrt(1 - area)) // 2
        distance = jnp.arange(size) - jax.random.randint(key, (), 0, size)
        return (-half <= distance) & (distance < half)

    rows, columns = jax.random.split(key)
    return 1.0 - (inside(rows, height)[:, None] & inside(columns, width))


def mix(
    video: Float[Array, "B T H W 3"],
    targets: Mapping[str, Float[Array, "B _"]],
    weights: Float[Array, "H W"] | Float[Array, "B H W"],
) -> tuple[Float[Array, "B T H W 3"], dict[str, Float[Array, "B _"]]]:
    """Blends clips with their partners, and each head's targets by the share of the pixels that either has."""
    share = jnp.mean(weights, axis=(-2, -1))[..., None]
    mixed = {head: share * leaf + (1 - share) * leaf[::-1] for head, leaf in targets.items()}
    weights = weights[..., None, :, :, None]
    return weights * video + (1 - weights) * video[::-1], mixed
