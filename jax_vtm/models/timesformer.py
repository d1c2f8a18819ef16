"""TimeSformer with token merging: attention over time, then over space, in every block.

Source: "Is Space-Time Attention All You Need for Video Understanding?" (Bertasius et al., 2021), the variant with
divided attention. GELU is exact. Tokens are kept as [B, frames, patches of a frame, C] next to the class token; merging
happens within each frame, all frames keeping equally many, so that they stay such an array.

What merging does to attention over time. A temporal sequence is one token of each frame: those of equal rank in their
frames' order of tokens. Before the first merge these are the patches of one place. Afterwards it depends on
`reduction.layout`:

- "reference": a frame's order is kept sources by falling similarity, then destinations. Similarities differ from frame
  to frame, so the first part of the sequences strings together places that have nothing to do with each other, and
  even a token that nothing was merged into changes its company.
- "fixed": kept sources by ascending position, then destinations. A destination (odd rank) keeps exactly the company
  that it had. A kept source (even rank) moves up by as many sources as its own frame lost before it, so its sequence
  joins places that were at most r sources, 2r ranks, apart.

In neither does a sequence follow an object or the patches that went into a token, and sizes play no part in attention
over time: every frame gives one token to each sequence, whatever it stands for. "reference" reproduces the PyTorch
reference and its published numbers; "fixed" is for who wants temporal attention to look at roughly one place. In the
first layer both merge the same tokens.
"""

import itertools
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.errors import UserError
from jax_vtm.merging import TokenState, initial_state
from jax_vtm.models.frames import SpaceTimePositions, clip_trace
from jax_vtm.models.layers import MultiHeadDotProductAttention, layer_norm
from jax_vtm.models.macs import Macs, embedding_macs, head_macs, matching_macs
from jax_vtm.models.patch_embedding import Video
from jax_vtm.models.transformer import TransformerBlock, VideoTransformer


class SpatialAttention(MultiHeadDotProductAttention):
    """Attention of a class token and a frame's patches; the class token's query takes no notice of sizes."""

    def __call__(
        self, x: Float[Array, "B N C"], log_size: Float[Array, "B P"] | None = None
    ) -> tuple[Float[Array, "B N C"], Float[Array, "B P H D"]]:
        """Returns the attended tokens, and the keys of the patches alone."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        key_bias = None if log_size is None else jnp.pad(log_size, ((0, 0), (1, 0)))
        return self.out(self.attend(query, key, value, key_bias, unbiased=1)), key[:, 1:]


class TimeSformerBlock(TransformerBlock, kw_only=True):
    """Attention over time, attention within each frame, token reduction, MLP."""

    @nn.compact
    def __call__(
        self, cls: Float[Array, "B 1 C"], x: Float[Array, "B T P C"], state: TokenState, *, train: bool = False
    ) -> tuple[Float[Array, "B 1 C"], Float[Array, "B T K C"], TokenState]:
        """Returns the class token, the frames' patch tokens, possibly fewer, and what is known of these.

        The state is of the frames by themselves, [B * T, P].
        """
        batch, frames, _, channels = x.shape
        temporal_norm = self.norm("temporal_norm")
        temporal_attention = MultiHeadDotProductAttention(
            self.num_heads, channels, self.compute, name="temporal_attention"
        )
        temporal_projection = nn.Dense(channels, dtype=self.compute.dtype, name="temporal_projection")
        norm = self.norm("attention_norm")
        attention = SpatialAttention(self.num_heads, channels, self.compute, name="attention")
        mlp_norm, mlp = self.norm("mlp_norm"), self.mlp("mlp")
        dropout, drop_layer = self.dropout(train), self.drop_layer()

        # A repetition runs the whole block again with the same weights.
        for step, r in enumerate(self.r_per_step):
            attended = temporal_attention.over_frames(temporal_norm(x))
            x = x + drop_layer(temporal_projection(dropout(attended)), train=train)

            # Every frame attends with a copy of the class token; the copies' answers are averaged.
            copies = jnp.broadcast_to(cls[:, None], (batch, frames, 1, channels))
            per_frame = jnp.concatenate([copies, x], axis=2).reshape(batch * frames, -1, channels)
            log_size = self.log_sizes(state)
            attended, keys = attention(norm(per_frame), log_size)
            attended = dropout(attended).reshape(batch, frames, -1, channels)
            attended = drop_layer(attended, train=train)
            cls = cls + jnp.mean(attended[:, :, 0], axis=1, keepdims=True)
            added = attended[:, :, 1:]

            tokens, added = (part.reshape(batch * frames, -1, channels) for part in (x + added, added))
            merged, state = self.token_reduction(step, r)(tokens, keys, state, added)

            tokens = jnp.concatenate([cls, merged.reshape(batch, -1, channels)], axis=1)
            tokens = tokens + drop_layer(mlp(mlp_norm(tokens), train=train), train=train)
            cls, x = tokens[:, :1], tokens[:, 1:].reshape(batch, frames, -1, channels)
        return cls, x, state


class TimeSformer(VideoTransformer, kw_only=True):
    """TimeSformer with divided space-time attention; the prediction reads the class token.

    See the module's docstring for what `reduction.layout` changes. Head aggregation "concat" is honoured; the PyTorch
    reference ignores it here and takes the mean.

    Attributes:
        position_grid: Grid (t, h, w) of the stored position embeddings, if it is not the input's; places and times
            are then interpolated by nearest neighbour, as in the source (`forward_features` in
            timesformer/models/vit.py). The released files store their own models' grids, 28 x 28 places for 448 pixels.
            (The source's loader, `load_pretrained` in timesformer/models/helpers.py, would resize a file of another
            size before, along the row-major line of places instead of in two dimensions; that is not followed.)
    """

    family: ClassVar[str] = "timesformer"

    num_frames: int = 8
    patch_size: tuple[int, int, int] = (1, 16, 16)
    position_grid: tuple[int, int, int] | None = None

    @property
    def has_class_token(self) -> bool:
        """Token 0; it takes no part in merging."""
        return True

    @property
    def num_groups(self) -> int:
        """Merging is within a frame."""
        return self.grid[0]

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip."""
        width, frames = self.hidden_size, self.num_groups
        total = embedding_macs(self.patches_kept, self.patch_size, width) + head_macs(width, None, self.num_outputs)
        tokens = self.tokens_per_layer
        for layer, (entering, leaving) in enumerate(itertools.pairwise(tokens)):
            patches, in_frame = entering - 1, (entering - 1) // frames + 1
            reduction = self.reduction.of_layer(layer)
            total += Macs(
                matching=matching_macs(reduction, patches, leaving - 1, width, self.num_heads, frames),
                projections=5 * patches * width**2 + 4 * frames * in_frame * width**2,
                attention=2 * patches * frames * width + 2 * frames * in_frame**2 * width,
                mlp=2 * leaving * width * self.mlp_dim,
            )
        return total

    @nn.compact
    def __call__(self, video: Video, *, train: bool = False, trace: bool = False, features: bool = False):
        """Classifies clips as `VideoClassifier` says; pixels in [0, 1], less 0.45, over 0.225.

        A trace is of the whole clip, class token first, then patches numbered (time, height, width). Groups never cross
        a frame.
        """
        if self.patch_size[0] != 1:
            raise UserError(f"patch_size is {self.patch_size}; TimeSformer's patches are one frame deep, (1, h, w).")
        cls, x = SpaceTimePositions(self.position_grid, "nearest", name="positions")(self.embed(video))
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)
        cls, x = dropout(cls), dropout(x)

        batch, frames, patches, _ = x.shape
        state = initial_state(batch * frames, patches, trace=trace or features)
        states = []
        for layer in range(self.num_layers):
            cls, x, state = TimeSformerBlock(**self.block_fields(layer))(cls, x, state, train=train)
            states.append(state)

        norm = layer_norm("encoder_norm")
        logits = self.classify(norm(cls)[:, 0])
        if not (trace or features):
            return logits
        tokens = norm(jnp.concatenate([cls, x.reshape(batch, -1, self.hidden_size)], axis=1))
        found = clip_trace(states, frames * patches, frames)
        return self.outputs(logits, found, tokens, trace=trace, features=features)
