"""What a model tells about its tokens when asked to trace."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jax_vtm.merging import TokenState


@struct.dataclass
class Trace:
    """The tokens after every layer.

    Leading axes are [B], or [B, t] in the spatial encoder of a factorised encoder.

    Attributes:
        num_tokens: Tokens entering the first layer, class token included.
        layers: Sizes and membership after each layer.
    """

    num_tokens: int = struct.field(pytree_node=False)
    layers: tuple[TokenState, ...]

    @property
    def membership(self) -> Int[Array, "*B N0"]:
        """Group in which each initial token ended, -1 if discarded."""
        membership = self.layers[-1].membership
        assert membership is not None
        return membership

    @property
    def sizes(self) -> Float[Array, "*B K"]:
        """Initial tokens that each final token stands for."""
        return self.layers[-1].size

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens entering each layer, and last, leaving the final one."""
        return (self.num_tokens, *(state.size.shape[-1] for state in self.layers))

    def restore(self, tokens: Float[Array, "*B K C"], layer: int = -1) -> Float[Array, "*B N0 C"]:
        """Gives every initial place the content of the token that it is part of; zeros where it was discarded.

        Args:
            tokens: Tokens after a layer.
            layer: That layer.
        """
        membership = self.layers[layer].membership
        assert membership is not None
        found = jnp.take_along_axis(tokens, jnp.maximum(membership, 0)[..., None], axis=-2)
        return jnp.where(membership[..., None] < 0, 0, found)


@struct.dataclass
class FactorisedTrace:
    """The traces of a factorised encoder.

    Attributes:
        spatial: Of the encoder over each time index, leading axes [B, t].
        temporal: Of the encoder over time; None in a spatial-only model.
    """

    spatial: Trace
    temporal: Trace | None

    @property
    def membership(self) -> Int[Array, "B t N0"]:
        """Group within its time index in which each initial token ended."""
        return self.spatial.membership

    @property
    def sizes(self) -> Float[Array, "B t K"]:
        """Initial tokens that each final token of a time index stands for."""
        return self.spatial.sizes

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens per time index entering each spatial layer, and last, leaving the final one."""
        return self.spatial.tokens_per_layer


def groups_per_layer(trace: Trace | FactorisedTrace, *, class_token: bool) -> list[tuple[Int[Array, "B N"], int]]:
    """Returns the groups of a clip's patch tokens after every layer.

    Args:
        trace: What a model told.
        class_token: Whether token 0, of the clip or of every time index, is a class token; it is left out.

    Returns:
        Per layer, the group of every patch token in the order (time, height, width), -1 if discarded; and how many
        groups there may be. A factorised encoder's spatial layers are meant, whose groups are of one time index each.
    """
    groups = []
    for state in (trace.spatial if isinstance(trace, FactorisedTrace) else trace).layers:
        membership, count = state.membership, state.size.shape[-1]
        assert membership is not None
        membership = membership[..., 1:] if class_token else membership
        if membership.ndim == 3:
            times = jnp.arange(membership.shape[1], dtype=membership.dtype)[:, None]
            membership = jnp.where(membership < 0, membership, membership + count * times)
            count *= membership.shape[1]
        groups.append((membership.reshape(membership.shape[0], -1), count))
    return groups
