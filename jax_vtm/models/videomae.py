"""VideoMAE's classifier with token merging: joint space-time attention, no class token.

Source: "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training" (Tong et al.,
2022), the fine-tuned encoder. Positions are a fixed sinusoid and no parameter; keys have no bias; GELU is exact; the
final tokens are averaged, then normalised.

Merging is global over space and time, between attention and MLP. Proportional attention is off unless asked for, as
in all the published runs.

| `reduction.layout`  | kept sources            | pooling                               |
| ------------------- | ----------------------- | ------------------------------------- |
| "reference"         | by falling similarity   | plain mean of the tokens that are left |
| "fixed"             | by ascending position   | mean weighted by the tokens' sizes     |

Weighted, the pooled vector stands for every patch of the clip equally, as it does without merging; plainly, a token
that stands for a hundred patches of background counts as much as one that stands for itself.
"""

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.merging import TokenState, initial_state
from jax_vtm.models.layers import MultiHeadDotProductAttention, layer_norm
from jax_vtm.models.macs import Macs, embedding_macs, encoder_macs, head_macs
from jax_vtm.models.patch_embedding import Video
from jax_vtm.models.trace import Trace
from jax_vtm.models.transformer import TransformerBlock, VideoTransformer


class VideoMAEBlock(TransformerBlock, kw_only=True):
    """Pre-norm transformer block: attention, token reduction, MLP."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], state: TokenState, *, train: bool = False
    ) -> tuple[Float[Array, "B K C"], TokenState]:
        """Returns the block's tokens, possibly fewer, and what is known of them."""
        norm = self.norm("attention_norm")
        attention = MultiHeadDotProductAttention(
            self.num_heads, x.shape[-1], self.compute, use_key_bias=False, name="attention"
        )
        drop_layer = self.drop_layer()

        # A repetition looks at the layer's keys and merges; only the last round attends.
        for step, r in enumerate(self.r_per_step[:-1]):
            x, state = self.token_reduction(step, r)(x, attention.key(norm(x)), state)

        attended, keys = attention(norm(x), self.log_sizes(state))
        added = drop_layer(self.dropout(train)(attended), train=train)
        reduce = self.token_reduction(len(self.r_per_step) - 1, self.r_per_step[-1])
        x, state = reduce(x + added, keys, state, added)
        x = x + drop_layer(self.mlp("mlp")(self.norm("mlp_norm")(x), train=train), train=train)
        return x, state


class VideoMAE(VideoTransformer, kw_only=True):
    """VideoMAE, fine-tuned: every token attends to every token of the clip; the prediction reads their mean.

    See the module's docstring for what `reduction.layout` changes.
    """

    family: ClassVar[str] = "videomae"
    # The reference's experiments switch it off for VideoMAE.
    proportional_attention: ClassVar[bool] = False
    reduces_input: ClassVar[bool] = True

    @property
    def has_class_token(self) -> bool:
        """VideoMAE has none."""
        return False

    @property
    def num_groups(self) -> int:
        """Merging is global."""
        return 1

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip."""
        sizes = (self.hidden_size, self.mlp_dim, self.num_heads)
        return (
            embedding_macs(self.patches_kept, self.patch_size, self.hidden_size)
            + encoder_macs(self.reduction, self.num_layers, self.tokens_per_layer, *sizes)
            + head_macs(self.hidden_size, None, self.num_outputs)
        )

    @nn.compact
    def __call__(self, video: Video, *, train: bool = False, trace: bool = False, features: bool = False):
        """Classifies clips as `VideoClassifier` says; a trace numbers tokens (time, height, width).

        Features are the tokens before they are averaged and normalised.

        Pixels are in [0, 1], less ImageNet's mean (0.485, 0.456, 0.406), over its standard deviation (0.229, 0.224,
        0.225).
        """
        x, kept = self.embed_kept(video, self.reduction)
        positions = sinusoid_positions(math.prod(self.grid), self.hidden_size)
        x = x + (positions if kept is None else jnp.asarray(positions)[0, kept.places])
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)

        num_tokens = x.shape[1]
        state = initial_state(*x.shape[:2], trace=trace or features, kept=kept)
        states = []
        for layer in range(self.num_layers):
            x, state = VideoMAEBlock(**self.block_fields(layer))(x, state, train=train)
            states.append(state)

        weights = state.size if self.reduction.layout == "fixed" else jnp.ones_like(state.size)
        pooled = jnp.sum(x * weights[..., None], axis=1) / jnp.sum(weights, axis=1, keepdims=True)
        logits = self.classify(layer_norm("pooled_norm")(pooled))
        return self.outputs(logits, Trace(num_tokens, tuple(states)), x, trace=trace, features=features)


def sinusoid_positions(num_tokens: int, hidden_size: int) -> Float[np.ndarray, "1 N C"]:
    """Returns VideoMAE's table of positions: token n, channel c has the sine (even c) or cosine (odd c) of an angle.

    The angle is n / 10000^(2 floor(c / 2) / C), with n counted through the whole clip.
    """
    # In float64, since the angles of late tokens need more digits than float32 has.
    channel = np.arange(hidden_size)
    angles = np.arange(num_tokens)[:, None] / 10000.0 ** (2 * (channel // 2) / hidden_size)
    table = np.where(channel % 2 == 0, np.sin(angles), np.cos(angles))
    return table.astype(np.float32)[None]
