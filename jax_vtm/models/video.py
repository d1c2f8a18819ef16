"""From a video to tokens, and from tokens to logits: what all models, and all ViViT variants, have in common."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import FrozenDict
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_vtm.errors import UserError
from jax_vtm.merging import KeptPatches, Reduction, keep_patches
from jax_vtm.merging.backends.choice import Measured
from jax_vtm.models.compute import Compute
from jax_vtm.models.macs import Macs
from jax_vtm.models.patch_embedding import PatchEmbedding, Patches, Sampled, Video, cut_patches, folded
from jax_vtm.models.trace import FactorisedTrace, Trace

# In this order and by this name Scenic's configurations choose how the final tokens become one vector.
POOLINGS = ("token", "gap", "gmp", "gsp")


class VideoClassifier(nn.Module, kw_only=True):
    """The fields that every model has, and its way in.

    A model is called with a video, float [B, T, H, W, 3], pixels in the range that its checkpoint was trained for; or
    with [B, T, H, W * 3], the same with columns and colours in one axis, which is how TPUs take frames best. It returns
    logits [B, num_classes], or a dict of them with one entry per head. With `train=True` it applies dropout,
    which needs the RNG stream "dropout"; with `trace=True` it returns a pair (logits, `Trace`), the latter saying which
    tokens were merged. With `features=True` the last entry is a dense feature map [B, t, h, w, C]: each patch has the
    content of the final token that it is part of, zeros if it was dropped.

    Attributes:
        num_classes: Classes, or classes per head such as {"verb": 97, "noun": 300}. Heads share one
            `output_projection` in alphabetical order, which for EPIC-KITCHENS is Scenic's order: noun, verb.
        image_size: Pixels per side, or (height, width).
        num_frames: Frames per clip, T.
        patch_size: Tubelet (frames, height, width) that becomes one token. A rest of the video that does not fill a
            tubelet is left out.
        hidden_size: Token width, C.
        dropout_rate: In training, after the position embedding and in the MLPs.
        droplayer_rate: In training, chance that a residual branch of the last layer is dropped; falls linearly to 0 at
            the first.
        dtype: Type in which attention, MLPs and their normalisations compute; parameters, embedding, residual stream
            and head stay float32. None is float32.
        attention: How attention is computed: "auto", "xla", "chunked", "cudnn" or "tpu_flash"; this and the next three
            as in `Compute`.
        matching: How each source's best match is found: "auto", "xla", "chunked" or "pallas".
        merging: How tokens are added up: "auto", "scatter", "sorted", "one_hot" or "pallas".
        platform: For which programs are made: "cpu", "gpu" or "tpu"; None becomes the one that JAX runs on.
        family: What the models of one source are called: "vivit", "timesformer", "motionformer" or "videomae".
        proportional_attention: Whether a reduction that does not say so adds log(size) to attention scores.
        reduces_input: Whether a reduction can keep only some patches (`InputReduction`).
    """

    family: ClassVar[str]
    proportional_attention: ClassVar[bool] = True
    reduces_input: ClassVar[bool] = False

    num_classes: int | Mapping[str, int]
    image_size: int | tuple[int, int] = 224
    num_frames: int = 32
    patch_size: tuple[int, int, int] = (2, 16, 16)
    hidden_size: int = 768
    dropout_rate: float = 0.0
    droplayer_rate: float = 0.0
    dtype: DTypeLike | None = None
    attention: str | Measured = "auto"
    matching: str | Measured = "auto"
    merging: str | Measured = "auto"
    platform: str | None = None

    if TYPE_CHECKING:
        # Flax hashes modules by their fields, which type checkers cannot see.
        def __hash__(self) -> int: ...

    def __post_init__(self):
        # Plain dicts are not hashable, and modules have to be: compiled steps are kept per module.
        if isinstance(self.num_classes, Mapping):
            object.__setattr__(self, "num_classes", FrozenDict(self.num_classes))
        if self.platform is None:
            object.__setattr__(self, "platform", jax.default_backend())
        super().__post_init__()
        for field in ("num_heads", "spatial_heads", "temporal_heads"):
            if self.hidden_size % getattr(self, field, 1):
                raise UserError(
                    f"hidden_size is {self.hidden_size}; expected a multiple of {field}, which is "
                    f"{getattr(self, field)}."
                )
        if 0 in self.grid:
            raise UserError(
                f"clips of {self.num_frames} frames with image_size {self.image_size} do not hold one patch of "
                f"patch_size {self.patch_size} (frames, height, width)."
            )
        for field in ("reduction", "temporal_reduction"):
            chosen = getattr(self, field, None)
            if chosen is None or chosen.input is None:
                continue
            if not self.reduces_input:
                raise UserError(
                    f"{field}.input keeps {chosen.input.keep} patches, but {type(self).__name__} needs equally many of "
                    "every frame, and all of the first stay. ViViT's space-time model and VideoMAE can reduce their "
                    "input."
                )
            chosen.input.check(self.grid)

    @property
    def patches_kept(self) -> int:
        """Patches of a clip that become tokens: all, unless the reduction keeps only some."""
        reduction = getattr(self, "reduction", None)
        return math.prod(self.grid) if reduction is None or reduction.input is None else reduction.input.keep

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3) of one clip."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return (self.num_frames, height, width, 3)

    @property
    def heads(self) -> tuple[tuple[str, int], ...]:
        """(name, classes) in parameter order; a single head has the name ""."""
        if isinstance(self.num_classes, int):
            return (("", self.num_classes),)
        return tuple(sorted(self.num_classes.items()))

    @property
    def num_outputs(self) -> int:
        """Classes of all heads together."""
        return sum(classes for _, classes in self.heads)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patch tokens along (time, height, width)."""
        frames, height, width, _ = self.input_shape
        depth, patch_height, patch_width = self.patch_size
        return (frames // depth, height // patch_height, width // patch_width)

    @property
    def compute(self) -> Compute:
        """How the model is computed; here alone a model asks for the platform, where it is not told."""
        platform = self.platform or jax.default_backend()
        return Compute(self.dtype, self.attention, self.matching, self.merging, platform)

    def resolved(self, reduction: Reduction) -> Reduction:
        """A reduction with this model's own choice where it leaves one to the model."""
        return reduction.resolved(self.proportional_attention)

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Tokens entering each layer (or each step of a repeated one), and last, leaving the final one."""
        raise NotImplementedError

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of one clip."""
        raise NotImplementedError

    @property
    def has_class_token(self) -> bool:
        """Whether token 0 is a class token."""
        raise NotImplementedError

    def outputs(
        self,
        logits: Any,
        found: Trace | FactorisedTrace,
        tokens: Float[Array, "*B K C"],
        *,
        trace: bool,
        features: bool,
    ) -> Any:
        """Returns the logits, then the trace and the features if they are asked for.

        Args:
            logits: One array or one per head.
            found: The trace; without membership unless it or the features are asked for.
            tokens: After the last layer of the encoder that is traced.
            trace: Return the trace.
            features: Return the tokens' content at every patch, [B, t, h, w, C].
        """
        returned = [logits]
        if trace:
            returned.append(found)
        if features:
            places = (found.spatial if isinstance(found, FactorisedTrace) else found).restore(tokens)
            patches = places[..., int(self.has_class_token) :, :]
            returned.append(patches.reshape(places.shape[0], *self.grid, places.shape[-1]))
        return tuple(returned) if len(returned) > 1 else logits

    def embed(self, video: Video) -> Float[Array, "B t h w C"]:
        """Cuts the video into patches and projects each to one token; called from the model's `__call__`."""
        return self.project(self.patches(video))

    def patches(self, video: Video) -> Patches:
        """Cuts the video into patches.

        Raises:
            UserError: Clips of another shape than the model takes.
        """
        if video.shape[1:] not in (self.input_shape, folded(self.input_shape)):
            raise UserError(
                f"The model takes clips of shape [B, {', '.join(map(str, self.input_shape))}]; got {list(video.shape)}."
            )
        return cut_patches(self.frames(video), self.kernel_size)

    def embed_kept(self, video: Video, reduction: Reduction) -> tuple[Float[Array, "B K C"], KeptPatches | None]:
        """Returns the tokens of the patches that the reduction keeps; None besides if it keeps all."""
        if reduction.input is None:
            x = self.embed(video)
            return x.reshape(x.shape[0], -1, self.hidden_size), None
        key = self.make_rng("reduction") if reduction.input.by == "random" else None
        # What goes is gone before the product.
        patches, kept = keep_patches(reduction.input, self.patches(video), key)
        return self.project(patches), kept

    def project(self, patches: Float[Array | np.ndarray, "*B P"]) -> Float[Array, "*B C"]:
        """Turns each patch into one token."""
        return PatchEmbedding(self.hidden_size, self.kernel_size, name="embedding")(patches)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Of the embedding."""
        return self.patch_size

    def frames(self, video: Video) -> Sampled:
        """Returns the frames that are cut into patches."""
        return video


class ScenicClassifier(VideoClassifier, kw_only=True):
    """The fields that every ViViT variant has besides; the variants add their attention.

    Attributes:
        num_sampled_frames: Embeds this many single frames (Scenic's "temporal_sampling") instead of tubelets; the
            patch size must then be one frame deep.
        classifier: "token" (a learned class token), or "gap", "gmp", "gsp": mean, maximum, sum of the tokens.
        representation_size: Width of a tanh layer before the head; None for none.
    """

    family: ClassVar[str] = "vivit"

    num_sampled_frames: int | None = None
    classifier: Literal["token", "gap", "gmp", "gsp"] = "token"
    representation_size: int | None = None

    @property
    def encoder_fields(self) -> dict[str, Any]:
        """The fields that an encoder takes over from its model."""
        return {name: getattr(self, name) for name in ("compute", "dropout_rate", "droplayer_rate")}

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patch tokens along (time, height, width)."""
        frames, height, width = super().grid
        if self.num_sampled_frames is not None:
            frames = len(sampled_frames(self.num_frames, self.num_sampled_frames)) // self.patch_size[0]
        return (frames, height, width)

    @property
    def has_class_token(self) -> bool:
        """Whether token 0 is a class token."""
        return self.classifier == "token"

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Of the embedding; of sampled frames, (height, width)."""
        return self.patch_size if self.num_sampled_frames is None else self.patch_size[1:]

    def frames(self, video: Video) -> Sampled:
        """Returns the sampled frames if they are asked for, or all."""
        check_choice("classifier", self.classifier, POOLINGS)
        if self.num_sampled_frames is None:
            return video
        if self.patch_size[0] != 1:
            raise UserError(f"num_sampled_frames needs a patch size of one frame; got {self.patch_size}.")
        return video[:, sampled_frames(video.shape[1], self.num_sampled_frames)]

    def with_class_token(self, x: Float[Array, "B N C"], name: str = "cls") -> Float[Array, "B M C"]:
        """Puts the class token in front, if the classifier reads one."""
        if not self.has_class_token:
            return x
        cls = self.param(name, nn.initializers.zeros, (1, 1, self.hidden_size))
        return jnp.concatenate([jnp.broadcast_to(cls, (x.shape[0], 1, self.hidden_size)), x], axis=1)

    def pool(self, x: Float[Array, "B N C"], size: Float[Array, "B N"] | None = None) -> Float[Array, "B C"]:
        """Reduces the tokens to one vector; with sizes, they count for all that they stand for in a mean or sum."""
        if self.classifier == "token":
            return x[:, 0]
        if self.classifier == "gmp":
            return jnp.max(x, axis=1)
        weights = jnp.ones(x.shape[:2]) if size is None else size
        total = jnp.sum(x * weights[..., None], axis=1)
        return total if self.classifier == "gsp" else total / jnp.sum(weights, axis=1, keepdims=True)

    def classify(self, x: Float[Array, "B C"]) -> Float[Array, "B K"] | dict[str, Float[Array, "B K"]]:
        """Turns the pooled vector into logits, one array or one per head."""
        if self.representation_size is not None:
            x = nn.tanh(nn.Dense(self.representation_size, name="pre_logits")(x))
        logits = nn.Dense(self.num_outputs, kernel_init=nn.initializers.zeros, name="output_projection")(x)
        return split_heads(logits, self.heads)


def split_heads(logits: Float[Array, "B K"], heads: tuple[tuple[str, int], ...]):
    """Cuts joint logits into one array per named head; a single unnamed head passes."""
    if heads[0][0] == "":
        return logits
    bounds = np.cumsum([classes for _, classes in heads])[:-1]
    parts = jnp.split(logits, bounds, axis=-1)
    return {name: part for (name, _), part in zip(heads, parts, strict=True)}


def sampled_frames(num_frames: int, num_sampled: int) -> np.ndarray:
    """Returns the indices of frames spread evenly over a clip, as Scenic's temporal sampling takes them."""
    if num_sampled >= num_frames:
        return np.arange(num_frames)
    step = num_frames / (num_sampled + 1)
    # numpy rounds half to even, as Scenic does.
    return np.minimum(np.round(np.arange(step, num_frames, step)), num_frames - 1).astype(np.int32)[:num_sampled]


def check_choice(field: str, value: object, known: tuple[str, ...]) -> None:
    """Raises a UserError that lists what is known."""
    if value not in known:
        raise UserError(f"{field} is {value!r}; known are {', '.join(known)}.")
