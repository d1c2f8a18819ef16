"""What a model tells about its tokens when asked to trace."""

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
