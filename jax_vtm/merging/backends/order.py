"""Which sources have the highest scores: by a kernel on TPUs, elsewhere by sorts of few lengths.

Every layer has another number of scores, and compilers take long for each sort of a new length. So scores are filled up
to a power of two, and both sorts that a layer needs have the same form.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax_vtm.merging.backends.tpu_order import MOST_SOURCES, split_on_tpu

_LAST = jnp.iinfo(jnp.int32).max


def split_by_score(
    scores: Float[Array, "B S"],
    destination: Int[Array, "B S"],
    r: int,
    *,
    ascending: bool,
    platform: str | None = None,
) -> tuple[Int[Array, "B R"], Int[Array, "B R"], Int[Array, "B K"]]:
    """Splits sources by the stable descending order of `jnp.argsort`: equal scores in order, NaN before every number.

    Args:
        scores: Of the sources.
        destination: A number that goes along with each.
        r: How many come first.
        ascending: The others come in the order of their positions, and not by falling score.
        platform: For which the program is made; None is the one that JAX runs on.

    Returns:
        The positions of the first r, by falling score; their destinations; the positions of the others.
    """
    batch, count = scores.shape
    if (platform or jax.default_backend()) == "tpu" and 0 < r < count <= MOST_SOURCES:
        return split_on_tpu(_falling(scores), destination, r, ascending=ascending)
    length = 1 << (count - 1).bit_length()
    place = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (batch, length))
    _, order, destination = _sort(_filled(_falling(scores), length), place, _filled(destination, length))
    kept = order
    if ascending:
        # In front stays what was there; what fills the row up has the highest positions.
        _, kept, _ = _sort(jnp.where(place < r, place - length, order), order, destination)
    return order[:, :r], destination[:, :r], kept[:, r:count]


def _sort(key, position, other):
    return jax.lax.sort((key, position, other), dimension=1, num_keys=2, is_stable=False)


def _falling(scores: Float[Array, "B S"]) -> Int[Array, "B S"]:
    """Returns whole numbers in the opposite order; there is one number for both zeros, and one for every NaN."""
    scores = jnp.where(jnp.isnan(scores), jnp.nan, jnp.where(scores == 0, 0.0, scores)).astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
    # The bits of negative numbers count the other way.
    return ~(bits ^ ((bits >> 31) & _LAST))


def _filled(x: Int[Array, "B S"], length: int) -> Int[Array, "B L"]:
    return jnp.pad(x.astype(jnp.int32), ((0, 0), (0, length - x.shape[1])), constant_values=_LAST)
