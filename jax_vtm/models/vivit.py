"""ViViT with token merging: the space-time model and the factorised encoder.

Source: "ViViT: A Video Vision Transformer" (Arnab et al., 2021), models 1 and 2. The parameter trees are those of
Scenic's `ViViT` and `SpaceTimeViViT`, name by name and shape by shape, so that loading a checkpoint is a check and
not a conversion. Merging sits between attention and MLP and has no parameters.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.merging import KeptPatches, Reduction, TokenReduction, TokenState, initial_state, no_reduction
from jax_vtm.models.layers import AddPositionEmbedding, MultiHeadDotProductAttention, layer_norm
from jax_vtm.models.macs import Macs, embedding_macs, encoder_macs, head_macs
from jax_vtm.models.patch_embedding import Video
from jax_vtm.models.trace import FactorisedTrace, Trace
from jax_vtm.models.transformer import Block, TransformerBlock, layer_fields
from jax_vtm.models.video import ScenicClassifier


class EncoderBlock(TransformerBlock, kw_only=True):
    """Pre-norm transformer block: attention, token reduction, MLP.

    Attributes:
        class_token: Token 0 is protected.
    """

    class_token: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], state: TokenState, *, train: bool = False
    ) -> tuple[Float[Array, "B K C"], TokenState]:
        """Returns the block's tokens, possibly fewer, and what is known of them."""
        norm = self.norm("LayerNorm_0")
        attention = MultiHeadDotProductAttention(
            self.num_heads, x.shape[-1], self.compute, name="MultiHeadDotProductAttention_0"
        )
        dropout, drop_layer = self.dropout(train), self.drop_layer(rescale=False)

        # A repetition looks at the layer's keys and merges; only the last round attends.
        *earlier, last = enumerate(self.r_per_step)
        for step, r in earlier:
            x, state = self._reduce(step, r)(x, attention.key(norm(x)), state)

        attended, keys = attention(norm(x), self.log_sizes(state))
        added = drop_layer(dropout(attended), train=train)
        x, state = self._reduce(*last)(x + added, keys, state, added)
        mlp = self.mlp("MlpBlock_0", approximate=True)
        x = x + drop_layer(mlp(self.norm("LayerNorm_1")(x), train=train), train=train)
        return x, state

    def _reduce(self, step: int, r: int) -> TokenReduction:
        return self.token_reduction(step, r, class_token=self.class_token, ascending=False)


class Encoder(Block, kw_only=True):
    """Position embedding, blocks, final normalisation.

    Attributes:
        num_layers: Number of blocks.
        reduction: Token reduction, spread over the layers by its schedule.
        class_token: Token 0 is protected.
    """

    num_layers: int
    reduction: Reduction
    class_token: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B N C"],
        kept: KeptPatches | None = None,
        *,
        train: bool = False,
        trace: bool = False,
    ) -> tuple[Float[Array, "B K C"], tuple[TokenState, ...]]:
        """Returns the normalised final tokens and what is known of them after every layer."""
        state = initial_state(*x.shape[:2], trace=trace, kept=kept)
        x = AddPositionEmbedding(name="posembed_input")(x, kept)
        x = self.dropout(train)(x)
        own = {name: getattr(self, name) for name in ("reduction", "class_token", "rows_per_clip")}
        states = []
        for layer, r_per_step in enumerate(self.reduction.per_layer(self.num_layers)):
            block = EncoderBlock(**layer_fields(self, layer), **own, layer=layer, r_per_step=r_per_step)
            x, state = block(x, state, train=train)
            states.append(state)
        return layer_norm("encoder_norm")(x), tuple(states)


class ViViT(ScenicClassifier, kw_only=True):
    """ViViT model 1: every token attends to every token of the clip. Merging is global over space and time.

    Attributes:
        num_layers: Transformer blocks.
        num_heads: Attention heads.
        mlp_dim: Width of the MLPs.
        reduction: Token reduction.
    """

    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    reduces_input: ClassVar[bool] = True

    reduction: Reduction = no_reduction()

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens entering each layer (or each step of a repeated one), and last, leaving the final one."""
        return self.reduction.plan(self.patches_kept + self.has_class_token, self.num_layers, self.has_class_token)

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip."""
        sizes = (self.hidden_size, self.mlp_dim, self.num_heads)
        return (
            embedding_macs(self.patches_kept, self.patch_size, self.hidden_size)
            + encoder_macs(self.reduction, self.num_layers, self.tokens_per_layer, *sizes)
            + head_macs(self.hidden_size, self.representation_size, self.num_outputs)
        )

    @nn.compact
    def __call__(self, video: Video, *, train: bool = False, trace: bool = False, features: bool = False):
        """Classifies clips as `VideoClassifier` says; Scenic's pixels are in [-1, 1]."""
        x, kept = self.embed_kept(video, self.reduction)
        x = self.with_class_token(x)
        if kept is not None and self.has_class_token:
            kept = kept.with_class_token()
        num_tokens = x.shape[1]
        x, states = Encoder(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            reduction=self.resolved(self.reduction),
            class_token=self.has_class_token,
            **self.encoder_fields,
            name="Transformer",
        )(x, kept, train=train, trace=trace or features)
        logits = self.classify(self.pool(x, pooling_weights(self.reduction, states)))
        return self.outputs(logits, Trace(num_tokens, states), x, trace=trace, features=features)


class FactorisedEncoderViViT(ScenicClassifier, kw_only=True):
    """ViViT model 2, Scenic's SpaceTimeViViT: an encoder within each time index, then one over time.

    Attributes:
        spatial_layers: Blocks of the spatial encoder.
        spatial_heads: Its attention heads.
        spatial_mlp_dim: Width of its MLPs.
        temporal_layers: Blocks of the temporal encoder.
        temporal_heads: Its attention heads.
        temporal_mlp_dim: Width of its MLPs.
        spatial_only: Averages over time instead of the temporal encoder (Scenic's baseline).
        reduction: Token reduction within each time index, in the spatial encoder.
        temporal_reduction: Token reduction over time, in the temporal encoder.
    """

    spatial_layers: int = 12
    spatial_heads: int = 12
    spatial_mlp_dim: int = 3072
    temporal_layers: int = 4
    temporal_heads: int = 12
    temporal_mlp_dim: int = 3072
    spatial_only: bool = False
    reduction: Reduction = no_reduction()
    temporal_reduction: Reduction = no_reduction()

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens per time index entering each spatial layer, and last, leaving the final one."""
        num_tokens = math.prod(self.grid[1:]) + self.has_class_token
        return self.reduction.plan(num_tokens, self.spatial_layers, self.has_class_token)

    @property
    def temporal_tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens entering each temporal layer, and last, leaving the final one."""
        num_tokens = self.grid[0] + self.has_class_token
        return self.temporal_reduction.plan(num_tokens, self.temporal_layers, self.has_class_token)

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip."""
        spatial_sizes = (self.hidden_size, self.spatial_mlp_dim, self.spatial_heads)
        spatial = encoder_macs(self.reduction, self.spatial_layers, self.tokens_per_layer, *spatial_sizes)
        temporal_sizes = (self.hidden_size, self.temporal_mlp_dim, self.temporal_heads)
        temporal = encoder_macs(
            self.temporal_reduction, self.temporal_layers, self.temporal_tokens_per_layer, *temporal_sizes
        )
        return (
            embedding_macs(self.patches_kept, self.patch_size, self.hidden_size)
            + spatial * self.grid[0]
            + (Macs() if self.spatial_only else temporal)
            + head_macs(self.hidden_size, self.representation_size, self.num_outputs)
        )

    @nn.compact
    def __call__(self, video: Video, *, train: bool = False, trace: bool = False, features: bool = False):
        """Classifies clips as `ViViT` does, but traces a `FactorisedTrace`; features are of the spatial encoder."""
        x = self.embed(video)
        batch, time, height, width, channels = x.shape
        # Time is folded into the batch: the same weights see every time index by itself.
        x = self.with_class_token(x.reshape(batch * time, height * width, channels), "cls_SpatialTransformer")
        spatial_tokens = x.shape[1]
        x, spatial_states = Encoder(
            num_layers=self.spatial_layers,
            num_heads=self.spatial_heads,
            mlp_dim=self.spatial_mlp_dim,
            reduction=self.resolved(self.reduction),
            class_token=self.has_class_token,
            rows_per_clip=time,
            **self.encoder_fields,
            name="SpatialTransformer",
        )(x, train=train, trace=trace or features)
        tokens = x.reshape(batch, time, -1, channels)
        x = self.pool(x, pooling_weights(self.reduction, spatial_states)).reshape(batch, time, channels)

        temporal_trace = None
        if self.spatial_only:
            x = jnp.mean(x, axis=1)
        else:
            x = self.with_class_token(x, "cls_TemporalTransformer")
            temporal_tokens = x.shape[1]
            x, temporal_states = Encoder(
                num_layers=self.temporal_layers,
                num_heads=self.temporal_heads,
                mlp_dim=self.temporal_mlp_dim,
                reduction=self.resolved(self.temporal_reduction),
                class_token=self.has_class_token,
                **self.encoder_fields,
                name="TemporalTransformer",
            )(x, train=train, trace=trace)
            x = self.pool(x, pooling_weights(self.temporal_reduction, temporal_states))
            temporal_trace = Trace(temporal_tokens, temporal_states)

        spatial = jax.tree.map(lambda leaf: leaf.reshape(batch, time, *leaf.shape[1:]), spatial_states)
        found = FactorisedTrace(Trace(spatial_tokens, spatial), temporal_trace)
        return self.outputs(self.classify(x), found, tokens, trace=trace, features=features)


def pooling_weights(reduction: Reduction, states: tuple[TokenState, ...]) -> Float[Array, "B N"] | None:
    """Returns what mean pooling weighs tokens by: their sizes in the "fixed" layout, nothing as in the reference."""
    return states[-1].size if reduction.layout == "fixed" and states else None
