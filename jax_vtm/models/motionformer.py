"""Motionformer with token merging: attention along trajectories.

Source: "Keeping Your Eye on the Ball: Trajectory Attention in Video Transformers" (Patrick et al., 2021). Every patch
first looks into each frame by itself, which gives it one summary per frame (where its content was at that time), and
then attends over these summaries, starting from its own frame's. The class token attends to all tokens at once. GELU
is exact; a tanh layer stands before the head. Logits are returned; the PyTorch reference returns probabilities in
evaluation.

Merging happens in F groups of tokens, F being the frames of the token grid, between attention and MLP. What the groups
are depends on `reduction.layout`:

- "reference": a group is the tokens whose index in the clip is the same modulo F: some of *every* frame, interleaved.
  That is what the PyTorch reference does, since it reads tokens that lie (frame, place) as (place, frame). After the
  first merge the F "frames" of trajectory attention are the F chunks of the shuffled tokens, mixtures of all times.
  Kept sources come by falling similarity.
- "fixed": a group is a frame, as the paper describes, and frames stay frames for attention. Kept sources come by
  ascending position.

"reference" reproduces the published numbers, "fixed" is what they were meant to measure. Without merging the two are
the same model.
"""

import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jax_vtm.merging import TokenState, initial_state, metric_from_keys
from jax_vtm.models.attention import attend_along_trajectories, trajectories
from jax_vtm.models.frames import SpaceTimePositions, clip_trace
from jax_vtm.models.layers import MultiHeadDotProductAttention, Projection, layer_norm
from jax_vtm.models.macs import Macs, embedding_macs, head_macs, matching_macs
from jax_vtm.models.patch_embedding import Video
from jax_vtm.models.transformer import TransformerBlock, VideoTransformer


class TrajectoryAttention(MultiHeadDotProductAttention):
    """Attention in two steps, within each frame and then over the frames' summaries.

    Attributes:
        project_values: Whether the second step sums projected summaries, as the paper writes, or the summaries
            themselves, as the code with which the released weights were trained.
    """

    project_values: bool = False

    def setup(self):
        """Creates the projections of the first step, as usual, and those of the second."""
        super().setup()
        channels, per_head = (self.hidden_size,), (self.num_heads, self.hidden_size // self.num_heads)
        self.trajectory_query = Projection(channels, per_head, dtype=self.compute.dtype)
        self.trajectory_key = Projection(channels, per_head, dtype=self.compute.dtype)
        self.trajectory_value = Projection(channels, per_head, dtype=self.compute.dtype)

    def __call__(
        self, x: Float[Array, "B M C"], num_frames: int, log_size: Float[Array, "B N"] | None = None
    ) -> tuple[Float[Array, "B M C"], Float[Array, "B N H D"]]:
        """Returns the attended tokens, and the keys of the patches.

        Args:
            x: The class token, then the patches in as many chunks of equal length as there are frames.
            num_frames: F.
            log_size: What is added to every patch query's scores of a patch, in the first step.
        """
        # Patches are projected by themselves, so that their queries, keys and values lie where registers begin.
        cls, x = x[:, :1], x[:, 1:]
        key, value = self.key(x), self.value(x)
        of_class = self._of_class(self.query(cls), (self.key(cls), key), (self.value(cls), value))
        summaries = self._look_into_frames(self.query(x), key, value, num_frames, log_size)
        of_patches = self._over_summaries(summaries)
        return self.out(jnp.concatenate([of_class, of_patches], axis=1)), key

    def _of_class(self, query: Float[Array, "B 1 H D"], keys, values) -> Float[Array, "B 1 H D"]:
        """Lets the class token attend to itself and all patches, whose keys and values are given apart."""
        if self.compute.platform != "tpu":
            return self.attend(query, *(jnp.concatenate(parts, axis=1) for parts in (keys, values)))
        # Both joined, and heads as an axis of products, a TPU would move all keys and values.
        batch, _, heads, width = query.shape
        keys, values = ([part.reshape(batch, -1, heads * width) for part in parts] for parts in (keys, values))
        scaled = query.reshape(batch, 1, -1) * width**-0.5
        scores = [trajectories.scores_by_head(scaled, part, heads) for part in keys]
        weights = jax.nn.softmax(jnp.concatenate(scores, axis=1), axis=1)
        parts = zip((weights[:, :1], weights[:, 1:]), values, strict=True)
        own, others = (jnp.sum(trajectories.weighted_by_head(*part), axis=1) for part in parts)
        return (own + others).reshape(query.shape)

    def _look_into_frames(
        self,
        query: Float[Array, "B N H D"],
        key: Float[Array, "B N H D"],
        value: Float[Array, "B N H D"],
        num_frames: int,
        log_size: Float[Array, "B N"] | None,
    ) -> Float[Array, "B F N H D"]:
        """Lets every patch attend to each frame by itself."""
        batch = query.shape[0]
        key, value = (part.reshape(batch, num_frames, -1, *part.shape[2:]) for part in (key, value))
        if log_size is not None:
            log_size = log_size.reshape(batch, num_frames, -1)
        return self.attend(query, key, value, log_size)

    def along_trajectories(self, query, summaries, kernel):
        """As `attention.attend_along_trajectories`, by this layer's backend."""
        return attend_along_trajectories(query, summaries, kernel, **self._backend)

    def _over_summaries(self, summaries: Float[Array, "B F N H D"]) -> Float[Array, "B N H D"]:
        """Lets every patch attend over its summaries, one per frame."""
        batch, num_frames, num_patches, heads, width = summaries.shape
        flat, size = summaries.reshape(batch, num_frames, num_patches, heads * width), num_patches // num_frames
        own = jnp.concatenate([flat[:, i, i * size : (i + 1) * size] for i in range(num_frames)], axis=1)
        query = self.trajectory_query(own) * width**-0.5
        # Both are asked for, so that the parameters do not depend on which is used.
        (key_kernel, _), (value_kernel, bias) = self.trajectory_key.weights(), self.trajectory_value.weights()
        on_cpu = self.compute.platform == "cpu"
        if not (on_cpu or self.project_values):
            return self.along_trajectories(query, flat, key_kernel)
        if on_cpu:
            # F summaries of every patch would have to be projected to keys. The key projection is linear, so it can be
            # moved to the one query instead: q . (W s + b) = (W^T q) . s + q . b, and the last term, equal for all
            # frames, is nothing to a softmax. The values likewise are projected after the sum over frames. Elsewhere
            # that would be a small product for every patch, which fills no matrix unit; the keys' does.
            folded = jnp.einsum("bnhd,chd->bnhc", query, key_kernel)
            scores = jnp.einsum("bnhc,bfnc->bnhf", folded, flat, preferred_element_type=jnp.float32)
            weights = jax.nn.softmax(scores, axis=-1)
        else:
            weights = jnp.moveaxis(trajectories.frame_weights(query, flat, key_kernel), 1, -1)
        weights = weights.astype(summaries.dtype)
        if not self.project_values:
            return jnp.einsum("bnhf,bfnhd->bnhd", weights, summaries)
        assert bias is not None
        summed = jnp.einsum("bnhf,bfnc->bnhc", weights, flat)
        return jnp.einsum("bnhc,chd->bnhd", summed, value_kernel) + bias


class MotionformerBlock(TransformerBlock, kw_only=True):
    """Trajectory attention, token reduction within each group, MLP.

    Attributes:
        num_frames: F, of the token grid.
        project_values: See `TrajectoryAttention`.
    """

    num_frames: int
    project_values: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B M C"], state: TokenState, *, train: bool = False
    ) -> tuple[Float[Array, "B L C"], TokenState]:
        """Returns the class token and the patches, possibly fewer, and what is known of the patches.

        The state is of the groups by themselves, [B * F, tokens of a group].
        """
        norm = self.norm("attention_norm")
        attention = TrajectoryAttention(
            self.num_heads, x.shape[-1], self.compute, project_values=self.project_values, name="attention"
        )
        mlp_norm, mlp = self.norm("mlp_norm"), self.mlp("mlp")
        dropout, drop_layer = self.dropout(train), self.drop_layer()

        # A repetition runs the whole block again with the same weights.
        for step, r in enumerate(self.r_per_step):
            log_size = self.log_sizes(state)
            log_size = None if log_size is None else self._to_clip(log_size)
            attended, keys = attention(norm(x), self.num_frames, log_size)
            added = drop_layer(dropout(attended), train=train)
            x = x + added
            # What keys are compared by is less to put in groups than they are; it goes on as a single head.
            with jax.named_scope("matching"):
                compared = metric_from_keys(keys, self.reduction.head_aggregation, platform=self.compute.platform)
            tokens, compared, added = (self._to_groups(part) for part in (x[:, 1:], compared, added[:, 1:]))
            merged, state = self.token_reduction(step, r)(tokens, compared[:, :, None], state, added)
            x = jnp.concatenate([x[:, :1], self._to_clip(merged)], axis=1)
            x = x + drop_layer(mlp(mlp_norm(x), train=train), train=train)
        return x, state

    def _to_groups(self, x: Float[Array, "B N *C"]) -> Float[Array, "G P *C"]:
        """Splits a clip's patches into the groups in which they are merged."""
        batch, _, *channels = x.shape
        if self.reduction.layout == "fixed":
            return x.reshape(batch * self.num_frames, -1, *channels)
        x = x.reshape(batch, -1, self.num_frames, *channels).swapaxes(1, 2)
        return x.reshape(-1, *x.shape[2:])

    def _to_clip(self, x: Float[Array, "G P *C"]) -> Float[Array, "B N *C"]:
        """The inverse of `_to_groups`."""
        _, patches, *channels = x.shape
        x = x.reshape(-1, self.num_frames, patches, *channels)
        x = x if self.reduction.layout == "fixed" else x.swapaxes(1, 2)
        return x.reshape(x.shape[0], -1, *channels)


class Motionformer(VideoTransformer, kw_only=True):
    """Motionformer; the prediction reads the class token. Always returns logits.

    See the module's docstring for what `reduction.layout` changes. Head aggregation "concat" is honoured; the PyTorch
    reference ignores it here and takes the mean.

    Attributes:
        position_grid: Grid (t, h, w) of the stored position embeddings, if it is not the input's; places and times
            are then interpolated, each with the cubic kernel that the source has for places. There (`forward_features`
            in slowfast/models/video_model_builder.py), `pos_embed` always has the 14 x 14 places of 224 pixels, in the
            files of the 336-pixel models too, and is resized to the crop's; `temp_embed` has one vector per time
            of the model and is never resized.
        project_values: Whether the second step of attention sums projected summaries, as the paper writes. The
            released weights were trained without, with `trajectory_value` lying idle.
    """

    family: ClassVar[str] = "motionformer"

    position_grid: tuple[int, int, int] | None = None
    project_values: bool = False

    @property
    def has_class_token(self) -> bool:
        """Token 0; it takes no part in merging."""
        return True

    @property
    def num_groups(self) -> int:
        """Merging is in as many groups as the grid has frames."""
        return self.grid[0]

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip, as computed here: with the trajectories' keys folded into the queries.

        The reference projects every summary to a key and a value instead: 2 F N C^2 per layer for N patches.
        """
        width, heads, frames = self.hidden_size, self.num_heads, self.num_groups
        total = embedding_macs(self.patches_kept, self.patch_size, width) + head_macs(width, width, self.num_outputs)
        tokens = self.tokens_per_layer
        for layer, (entering, leaving) in enumerate(itertools.pairwise(tokens)):
            patches, reduction = entering - 1, self.reduction.of_layer(layer)
            per_summary = 2 * heads if self.project_values else heads + 1
            total += Macs(
                matching=matching_macs(reduction, patches, leaving - 1, width, heads, frames),
                projections=4 * entering * width**2 + (3 if self.project_values else 2) * patches * width**2,
                attention=2 * (entering + patches**2) * width + patches * frames * per_summary * width,
                mlp=2 * leaving * width * self.mlp_dim,
            )
        return total

    @nn.compact
    def __call__(self, video: Video, *, train: bool = False, trace: bool = False, features: bool = False):
        """Classifies clips as `VideoClassifier` says; pixels in [-1, 1].

        A trace is of the whole clip, class token first, then patches numbered (time, height, width), in either layout.
        """
        cls, x = SpaceTimePositions(self.position_grid, "cubic", name="positions")(self.embed(video))
        batch, frames, patches, channels = x.shape
        x = jnp.concatenate([cls, x.reshape(batch, frames * patches, channels)], axis=1)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)

        state = initial_state(batch * frames, patches, trace=trace or features)
        states = []
        for layer in range(self.num_layers):
            block = MotionformerBlock(**self.block_fields(layer), num_frames=frames, project_values=self.project_values)
            x, state = block(x, state, train=train)
            states.append(state)

        norm = layer_norm("encoder_norm")
        logits = self.classify(nn.tanh(nn.Dense(channels, name="pre_logits")(norm(x)[:, 0])))
        if not (trace or features):
            return logits
        interleaved = self.reduction.layout == "reference"
        found = clip_trace(states, frames * patches, frames, interleaved=interleaved)
        return self.outputs(logits, found, norm(x), trace=trace, features=features)
