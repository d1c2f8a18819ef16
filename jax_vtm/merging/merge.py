"""What happens to the tokens once a matching is decided: merge, replace (hybrid), drop, undo, and who went where.

Source: "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025), whose code defines drop and hybrid; the weighted
mean is ToMe's (Bolya et al., 2023). All sums are carried in float32 whatever the tokens' type. Indexing is per clip
(`take_along_axis`, `vmap`), so that nothing here needs to talk to another device when the batch is sharded.

Membership is one int32 vector per clip: which group each initial token ended in, -1 if it was discarded.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jax_vtm.merging.backends.choice import Measured
from jax_vtm.merging.backends.scatter_add import MERGING, choose_merging, scatter_add
from jax_vtm.merging.backends.tpu_merging import merged_on_tpu
from jax_vtm.merging.matching import Matching
from jax_vtm.merging.shapes import check_shapes

DISCARDED = -1


def merge_weighted(
    matching: Matching,
    x: Float[Array, "B N C"],
    size: Float[Array, "B N"],
    *,
    replaced: Bool[Array, "B K"] | None = None,
    backend: str | Measured = "auto",
    platform: str | None = None,
    norm_preserving: bool = False,
) -> tuple[Float[Array, "B K C"], Float[Array, "B K"]]:
    """Returns the tokens' means, in x's dtype, weighted by their sizes, and the sums of these in float32.

    Args:
        matching: The layer's decision.
        x: Tokens.
        size: How many initial tokens each stands for.
        replaced: Kept tokens whose own content and size are replaced by what arrives (hybrid mode).
        backend: How sums are computed (see `choose_merging`).
        platform: For which the program is made; None is the one that JAX runs on.
        norm_preserving: Means get the largest norm of the tokens that they are of.
    """
    lengths = check_shapes(matching.lengths, x=(x, "B N C"), size=(size, "B N"))
    if replaced is not None:
        check_shapes(lengths, replaced=(replaced, "B K"))
    chosen = choose_merging(backend, platform, shape=(lengths["N"], lengths["R"], lengths["C"]))
    wide, weights = x.astype(jnp.float32), size.astype(jnp.float32)
    if chosen == "pallas" and lengths["R"]:
        merged, new_size = _by_kernel(matching, wide, weights, replaced)
    else:
        merged, new_size = _by_sums(matching, wide, weights, replaced, chosen)
    if norm_preserving:
        merged *= _largest_norm(matching, _norm(wide), replaced) / _norm(merged)
    return merged.astype(x.dtype), new_size


def _by_sums(matching, x, size, replaced, backend):
    # Not as one more channel, for which every token would be laid out anew.
    total = add_up(matching, x * size[..., None], replaced=replaced, backend=backend)
    new_size = add_up(matching, size[..., None], replaced=replaced, backend=backend)
    return total / new_size, new_size[..., 0]


def _norm(x: Float[Array, "B N C"]) -> Float[Array, "B N 1"]:
    # Not less than something, so that the gradient of a token of zeros is finite.
    return jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12))


def _largest_norm(matching: Matching, norm: Float[Array, "B N 1"], replaced: Bool[Array, "B K"] | None):
    """Returns the largest norm of every kept token and those that join it, [B, K, 1]."""
    own = take_tokens(norm, matching.kept)
    if replaced is not None:
        own = jnp.where(replaced[..., None], 0, own)
    return jax.vmap(lambda o, t, a: o.at[t].max(a))(own, matching.dst, take_tokens(norm, matching.src))


@jax.custom_vjp
def _by_kernel(matching, x, size, replaced):
    return merged_on_tpu(x, size, matching.kept, matching.src, matching.dst, replaced)


def _forward(*inputs):
    return _by_kernel(*inputs), inputs


def _backward(inputs, gradients):
    matching, x, size, replaced = inputs
    plain = jax.vjp(lambda x, size: _by_sums(matching, x, size, replaced, MERGING.elsewhere), x, size)[1]
    return None, *plain(gradients), None


_by_kernel.defvjp(_forward, _backward)


def add_up(
    matching: Matching, x: Float[Array, "B N C"], *, replaced: Bool[Array, "B K"] | None = None, backend: str = "auto"
) -> Float[Array, "B K C"]:
    """Adds every removed token to its destination, in float32; arguments as of `merge_weighted`."""
    lengths = check_shapes(matching.lengths, x=(x, "B N C"))
    own = take_tokens(x, matching.kept)
    if replaced is not None:
        check_shapes(lengths, replaced=(replaced, "B K"))
        own = jnp.where(replaced[..., None], 0, own)
    return scatter_add(own, matching.dst, take_tokens(x, matching.src), backend)


def replaced_tokens(matching: Matching, threshold: float) -> Bool[Array, "B K"]:
    """Says which kept tokens lose their own content in the hybrid mode: those that receive an edge below the threshold.

    All arriving tokens, from good and bad edges alike, are then added as in a merge, so such a token is replaced by
    what arrives. Kept tokens without an edge are untouched.

    Args:
        matching: The layer's decision.
        threshold: A score; an edge at it is good.
    """
    lengths = matching.lengths
    none = jnp.zeros((lengths["B"], lengths["K"]), bool)
    return jax.vmap(lambda e, t, b: e.at[t].max(b))(none, matching.dst, matching.score < threshold)


def drop(matching: Matching, x: Float[Array, "B N C"]) -> Float[Array, "B K C"]:
    """Returns the kept tokens as they are; the removed ones vanish.

    Args:
        matching: The layer's decision.
        x: Tokens, of any dtype.
    """
    check_shapes(matching.lengths, x=(x, "B N C"))
    return take_tokens(x, matching.kept)


def unmerge(matching: Matching, y: Float[Array, "B K C"]) -> Float[Array, "B N C"]:
    """Gives every input token the content of the output token that it went into, at its own input position.

    Unlike in the reference, a distillation token's order is undone too. What a matching discards is zero.

    Args:
        matching: The layer's decision.
        y: Output tokens, of any dtype.
    """
    check_shapes(matching.lengths, y=(y, "B K C"))
    empty = jnp.zeros((y.shape[0], matching.num_tokens, y.shape[2]), y.dtype)
    return _placed(matching, empty, y, take_tokens(y, matching.dst))


def take_tokens(x: Float[Array, "B N C"], index: Int[Array, "B K"]) -> Float[Array, "B K C"]:
    """Gathers tokens per clip.

    Args:
        x: Tokens.
        index: Which of them, in the order of the output.
    """
    # An index out of bounds, which no matching has, would otherwise be looked for in one more pass over the tokens.
    return jnp.take_along_axis(x, index[..., None], axis=1, mode="clip")


def initial_membership(batch: int, num_tokens: int) -> Int[Array, "B N"]:
    """Returns the membership of tokens that are a group each, int32.

    Args:
        batch: B, clips.
        num_tokens: N, tokens of each.
    """
    return jnp.broadcast_to(jnp.arange(num_tokens, dtype=jnp.int32), (batch, num_tokens))


def membership_of(
    matching: Matching, *, dropped: bool = False, replaced: Bool[Array, "B K"] | None = None
) -> Int[Array, "B N"]:
    """Returns the output position of every input token of one layer, int32; -1 if it is discarded.

    Args:
        matching: The layer's decision.
        dropped: The removed tokens vanish instead of joining their destinations (drop modes).
        replaced: Kept tokens whose own content is discarded (hybrid mode).
    """
    lengths = matching.lengths
    own = initial_membership(lengths["B"], lengths["K"])
    if replaced is not None:
        check_shapes(lengths, replaced=(replaced, "B K"))
        own = jnp.where(replaced, DISCARDED, own)
    joined = jnp.full_like(matching.dst, DISCARDED) if dropped else matching.dst
    start = jnp.full((lengths["B"], matching.num_tokens), DISCARDED, jnp.int32)
    return _placed(matching, start, own, joined.astype(jnp.int32))


def compose(earlier: Int[Array, "B N0"], later: Int[Array, "B N"]) -> Int[Array, "B N0"]:
    """Follows each initial token through one more layer; a discarded token stays discarded.

    Args:
        earlier: Membership before the layer.
        later: The layer's own (`membership_of`).
    """
    check_shapes(earlier=(earlier, "B N0"), later=(later, "B N"))
    followed = jnp.take_along_axis(later, jnp.maximum(earlier, 0), axis=1)
    return jnp.where(earlier == DISCARDED, DISCARDED, followed)


def _placed(matching: Matching, start, of_kept, of_src):
    """Writes one value per kept and per removed token to its input position."""

    def place(start, kept, of_kept, src, of_src):
        return start.at[kept].set(of_kept).at[src].set(of_src)

    return jax.vmap(place)(start, matching.kept, of_kept, matching.src, of_src)
