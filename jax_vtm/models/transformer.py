"""What TimeSformer, Motionformer and VideoMAE have in common: fields, counts, and the head."""

import math

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.merging import Reduction, TokenReduction, TokenState, no_reduction, plan
from jax_vtm.models.compute import Compute
from jax_vtm.models.layers import DropLayer
from jax_vtm.models.macs import Macs
from jax_vtm.models.video import VideoClassifier, split_heads


class VideoTransformer(VideoClassifier, kw_only=True):
    """The fields that the three models have; each adds its embedding, its blocks and its head.

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
        steps = [r for layer in self.reduction.per_layer(self.num_layers) for r in layer]
        per_group = plan(math.prod(self.grid) // self.num_groups, steps)
        return tuple(self.has_class_token + self.num_groups * count for count in per_group)

    def matching_macs(self, entering: int, leaving: int) -> Macs:
        """Of one matching in each of the groups, given the tokens of the clip before and after it."""
        if leaving == entering or self.reduction.is_random:
            return Macs()
        tokens = (entering - self.has_class_token) // self.num_groups
        width = self.hidden_size // (1 if self.reduction.head_aggregation == "concat" else self.num_heads)
        return Macs(matching=self.num_groups * ((tokens + 1) // 2) * (tokens // 2) * width)

    @property
    def num_outputs(self) -> int:
        """Classes of all heads together."""
        return sum(classes for _, classes in self.heads)

    def classify(self, x: Float[Array, "B C"]) -> Float[Array, "B K"] | dict[str, Float[Array, "B K"]]:
        """Turns one vector per clip into logits, one array or one per head."""
        init = nn.initializers.truncated_normal(0.02)
        return split_heads(nn.Dense(self.num_outputs, kernel_init=init, name="output_projection")(x), self.heads)

    def block_fields(self, layer: int) -> dict:
        """The fields of one layer's block that all models' blocks have."""
        return {
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "reduction": self.resolved(self.reduction),
            "r_per_step": self.reduction.per_layer(self.num_layers)[layer],
            "dropout_rate": self.dropout_rate,
            "droplayer_rate": self.droplayer_rate * layer / max(self.num_layers - 1, 1),
            "compute": self.compute,
            "name": f"encoderblock_{layer}",
        }


class TransformerBlock(nn.Module, kw_only=True):
    """The fields of a block.

    Attributes:
        num_heads: Attention heads.
        mlp_dim: Width of the MLP.
        reduction: What the block does with similar tokens.
        r_per_step: Tokens to remove; one entry, or several where the layer is repeated for study.
        dropout_rate: In training.
        droplayer_rate: In training.
        compute: Types and backends.
    """

    num_heads: int
    mlp_dim: int
    reduction: Reduction
    r_per_step: tuple[int, ...]
    compute: Compute
    dropout_rate: float = 0.0
    droplayer_rate: float = 0.0

    def drop_layer(self) -> DropLayer:
        """The module that drops residual branches in training."""
        return DropLayer(self.droplayer_rate, rescale=True)

    def token_reduction(
        self, step: int, r: int, *, class_token: bool = False, ascending: bool | None = None
    ) -> TokenReduction:
        """The module that merges tokens in one step; kept ones stay in ascending position as the layout says."""
        return TokenReduction(
            self.reduction,
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
        return jnp.log(state.size) if self.reduction.adds_log_size else None
