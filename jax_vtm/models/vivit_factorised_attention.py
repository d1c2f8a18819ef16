"""ViViT models 3 and 4: attention factorised inside the block, without token merging.

Source: "ViViT: A Video Vision Transformer" (Arnab et al., 2021). Both need the tokens on their grid of time and
space, which merging would dissolve, so asking for a reduction is an error. Parameter trees are Scenic's.
"""

import math
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models.layers import AddPositionEmbedding, MultiHeadDotProductAttention, layer_norm
from jax_vtm.models.macs import Macs, embedding_macs, head_macs
from jax_vtm.models.patch_embedding import Video
from jax_vtm.models.transformer import Block, layer_fields
from jax_vtm.models.video import ScenicClassifier, check_choice

Factorisation = Literal["time_space", "space_time", "dot_product"]
FACTORISATIONS = ("time_space", "space_time", "dot_product")


class FactorisedSelfAttentionBlock(Block, kw_only=True):
    """Attention along one axis, then along the other, then the MLP; Scenic's drops no layers.

    Attributes:
        order: Axes in the order in which they are attended along.
    """

    order: tuple[str, str]

    @nn.compact
    def __call__(self, x: Float[Array, "B t s C"], *, train: bool = False) -> Float[Array, "B t s C"]:
        """Transforms the tokens on their grid."""
        dropout = self.dropout(train)
        for axis in self.order:
            attention = MultiHeadDotProductAttention(
                self.num_heads, x.shape[-1], self.compute, name=f"MultiHeadDotProductAttention_{axis}"
            )
            normalised = self.norm(f"LayerNorm_{axis}")(x)
            x = x + dropout(attention.over_frames(normalised) if axis == "time" else attention(normalised)[0])
        mlp = self.mlp("MlpBlock", approximate=True)
        return x + mlp(self.norm("LayerNorm_mlp")(x), train=train)


class FactorisedDotProductAttention(MultiHeadDotProductAttention):
    """Self-attention whose first half of the heads attends along time and second half along space."""

    def __call__(self, x: Float[Array, "B t s C"]) -> Float[Array, "B t s C"]:
        """Attends on the grid."""
        half = self.num_heads // 2
        query, key, value = self.query(x), self.key(x), self.value(x)
        along_time = (part[..., :half, :].swapaxes(1, 2) for part in (query, key, value))
        time = self.attend(*along_time).swapaxes(1, 2)
        space = self.attend(*(part[..., half:, :] for part in (query, key, value)))
        return self.out(jnp.concatenate([time, space], axis=-2))


class FactorisedDotProductBlock(Block, kw_only=True):
    """Pre-norm block with `FactorisedDotProductAttention`; the number of heads is even."""

    @nn.compact
    def __call__(self, x: Float[Array, "B t s C"], *, train: bool = False) -> Float[Array, "B t s C"]:
        """Transforms the tokens on their grid."""
        attention = FactorisedDotProductAttention(
            self.num_heads, x.shape[-1], self.compute, name="MultiHeadDotProductAttention_0"
        )
        dropout, drop_layer = self.dropout(train), self.drop_layer(rescale=False)
        x = x + drop_layer(dropout(attention(self.norm("LayerNorm_0")(x))), train=train)
        mlp = self.mlp("MlpBlock_0", approximate=True)
        return x + drop_layer(mlp(self.norm("LayerNorm_1")(x), train=train), train=train)


class GridEncoder(Block, kw_only=True):
    """Position embedding, blocks on the grid [t, s], final normalisation.

    Attributes:
        num_layers: Number of blocks.
        factorisation: "time_space", "space_time" (model 3, in this order) or "dot_product" (model 4).
    """

    num_layers: int
    factorisation: Factorisation

    @nn.compact
    def __call__(self, x: Float[Array, "B t s C"], *, train: bool = False) -> Float[Array, "B N C"]:
        """Returns the normalised final tokens in one line."""
        batch, time, space, channels = x.shape
        x = AddPositionEmbedding(name="posembed_input")(x.reshape(batch, time * space, channels))
        x = self.dropout(train)(x).reshape(batch, time, space, channels)
        for layer in range(self.num_layers):
            fields = layer_fields(self, layer)
            if self.factorisation == "dot_product":
                block = FactorisedDotProductBlock(**fields)
            else:
                first, second = self.factorisation.split("_")
                block = FactorisedSelfAttentionBlock(**fields, order=(first, second))
            x = block(x, train=train)
        return layer_norm("encoder_norm")(x.reshape(batch, time * space, channels))


class FactorisedAttentionViViT(ScenicClassifier, kw_only=True):
    """ViViT models 3 (factorised self-attention) and 4 (factorised dot-product attention), for comparison.

    Attributes:
        factorisation: "time_space", "space_time" or "dot_product".
        num_layers: Transformer blocks.
        num_heads: Attention heads.
        mlp_dim: Width of the MLPs.
        reduction: Must be none.
    """

    factorisation: Factorisation = "time_space"
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    classifier: Literal["token", "gap", "gmp", "gsp"] = "gap"
    reduction: Reduction = no_reduction()

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens of every layer: all of them."""
        return (math.prod(self.grid),) * (self.num_layers + 1)

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip."""
        time, height, width = self.grid
        num_tokens, space = time * height * width, height * width
        attentions = 1 if self.factorisation == "dot_product" else 2
        layer = Macs(
            projections=attentions * 4 * num_tokens * self.hidden_size**2,
            # Model 3 attends with all heads along both axes, model 4 with half of them along each.
            attention=attentions * num_tokens * (time + space) * self.hidden_size,
            mlp=2 * num_tokens * self.hidden_size * self.mlp_dim,
        )
        return (
            embedding_macs(self.patches_kept, self.patch_size, self.hidden_size)
            + layer * self.num_layers
            + head_macs(self.hidden_size, self.representation_size, self.num_outputs)
        )

    @nn.compact
    def __call__(self, video: Video, *, train: bool = False, features: bool = False):
        """Classifies clips as `ViViT` does. There is nothing to trace.

        Raises:
            UserError: A reduction or a class token, neither of which this attention can take.
        """
        check_choice("factorisation", self.factorisation, FACTORISATIONS)
        if self.reduction.mode != "none":
            raise UserError(
                f"Token reduction (mode {self.reduction.mode!r}) does not fit factorised self-attention or factorised "
                "dot-product attention: both attend along the rows of a full grid of tokens, which merging dissolves. "
                "Use the space-time model or the factorised encoder, or reduction mode 'none'."
            )
        if self.has_class_token:
            raise UserError("Factorised attention has no class token; set classifier to 'gap', 'gmp' or 'gsp'.")
        x = self.embed(video)
        x = x.reshape(*x.shape[:2], -1, self.hidden_size)
        x = GridEncoder(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            factorisation=self.factorisation,
            **self.encoder_fields,
            name="Transformer",
        )(x, train=train)
        logits = self.classify(self.pool(x))
        return (logits, x.reshape(x.shape[0], *self.grid, -1)) if features else logits
