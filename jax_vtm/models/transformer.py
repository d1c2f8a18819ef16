"""What the models' encoders have in common: the fields of a block, and those of TimeSformer, Motionformer, VideoMAE."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.merging import Reduction, TokenReduction, TokenState, no_reduction
from jax_vtm.models.compute import Compute
from jax_vtm.models.layers import DropLayer, MlpBlock, layer_norm
from jax_vtm.models.video import VideoClassifier, split_heads


class Block(nn.Module, kw_only=True):
    """The fields of a transformer block, or of an encoder made of such.

    Attributes:
        num_heads: Attention heads.
        mlp_dim: Width of the MLP.
        compute: Types and backends.
        dropout_rate: In training.
        droplayer_rate: In training; of an encoder's last layer.
        rows_per_clip: Rows of the batch that are one clip's, as for `DropLayer`.
    """

    num_heads: int
    mlp_dim: int
    compute: Compute
    dropout_rate: float = 0.0
    droplayer_rate: float = 0.0
    rows_per_clip: int = 1

    def norm(self, name: str) -> nn.LayerNorm:
        """Layer normalisation in the type in which the block computes."""
        return layer_norm(name, self.compute.dtype)

    def mlp(self, name: str, *, approximate: bool = False) -> MlpBlock:
        """The block's MLP; its GELU is exact unless Scenic's tanh approximation is asked for."""
        return MlpBlock(
            self.mlp_dim,
            self.dropout_rate,
            self.compute.dtype,
            approximate=approximate,
            platform=self.compute.platform,
            name=name,
        )

    def dropout(self, train: bool) -> nn.Dropout:
        """Dropout of what attention adds."""
        return nn.Dropout(self.dropout_rate, deterministic=not train)

    def drop_layer(self, *, rescale: bool = True) -> DropLayer:
        """The module that drops residual branches in training."""
        return DropLayer(self.droplayer_rate, rescale, self.rows_per_clip)


def layer_fields(module: Any, layer: int) -> dict[str, Any]:
    """Returns the fields of `Block`, and the name, for one layer of a model or encoder that has them too."""
    fields = {name: getattr(module, name) for name in ("num_heads", "mlp_dim", "compute", "dropout_rate")}
    droplayer_rate = module.droplayer_rate * layer / max(module.num_layers - 1, 1)
    return {**fields, "droplayer_rate": droplayer_rate, "name": f"encoderblock_{layer}"}


class TransformerBlock(Block, kw_only=True):
    """The fields of a block that merges.

    Attributes:
        reduction: What the model does with similar tokens.
        layer: Number of the block, by which a list of modes is read.
        r_per_step: Tokens to remove; one entry, or several where the layer is repeated for study.
    """

    reduction: Reduction
    layer: int
    r_per_step: tuple[int, ...]

    def token_reduction(
        self, step: int, r: int, *, class_token: bool = False, ascending: bool | None = None
    ) -> TokenReduction:
        """The module that merges tokens in one step; kept ones stay in ascending position as the layout says."""
        return TokenReduction(
            self.reduction.of_layer(self.layer),
            r,
            class_token,
            ascending=self.reduction.layout == "fixed" if ascending is None else ascending,
            matching=self.compute.matching,
            merging=self.compute.merging,
            platform=self.compute.platform,
            name=f"TokenReduction_{step}",
        )

    def log_sizes(self, state: TokenState) -> Float[Array, "B N"] | None:
        """Returns what proportional attention adds to the scores of each key; None where it is switched off."""
        return jnp.log(state.size) if self.reduction.adds_log_size(self.layer) else None


class VideoTransformer(VideoClassifier, kw_only=True):
    """The fields that TimeSformer, Motionformer and VideoMAE have; each adds its embedding, its blocks and its head.

    In training, what `droplayer_rate` does not drop is scaled up.

    Attributes:
        num_layers: Transformer blocks.
        num_heads: Attention heads; they divide `hidden_size`.
        mlp_dim: Width of the MLPs.
        reduction: Token reduction.
    """

    num_frames: int = 16
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    reduction: Reduction = no_reduction()

    @property
    def num_groups(self) -> int:
        """Groups of patch tokens that are merged apart from each other: 1, or the frames of the grid."""
        raise NotImplementedError

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens of a clip entering each layer (or each step of a repeated one), and last, leaving the final one."""
        per_group = self.reduction.plan(self.patches_kept // self.num_groups, self.num_layers)
        return tuple(self.has_class_token + self.num_groups * count for count in per_group)

    def classify(self, x: Float[Array, "B C"]) -> Float[Array, "B K"] | dict[str, Float[Array, "B K"]]:
        """Turns one vector per clip into logits, one array or one per head."""
        init = nn.initializers.truncated_normal(0.02)
        return split_heads(nn.Dense(self.num_outputs, kernel_init=init, name="output_projection")(x), self.heads)

    def block_fields(self, layer: int) -> dict[str, Any]:
        """The fields of one layer's `TransformerBlock`."""
        r_per_step = self.reduction.per_layer(self.num_layers)[layer]
        own = {"reduction": self.resolved(self.reduction), "layer": layer, "r_per_step": r_per_step}
        return {**layer_fields(self, layer), **own}
