"""Token merging inside Hugging Face's TimeSformer.

Every layer attends over time, then within each frame:

    patches = patches + temporal_dense(temporal_attention(temporal_layernorm(patches)))
    cls, patches = (cls, patches) + attention(layernorm_before(cls, patches))
    patches, size = merge(patches, size)              each frame by itself, all frames keeping equally many
    cls, patches = (cls, patches) + mlp(layernorm_after(cls, patches))

Attention over time joins the tokens of equal rank in their frames, and ignores sizes. Attention within a frame has a
copy of the class token in every frame, whose results are averaged; log(size) is on the scores of the patches' queries
alone. The metric is the keys of the patches in this attention. See `jax_vtm.models.timesformer`.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from jax_vtm.pytorch.merging import Matching
from jax_vtm.pytorch.merging_model import MergingModel


class MergingTimeSformer(MergingModel):
    """`TimesformerForVideoClassification` with token merging.

    Tokens are ordered as in our model: class token, then patches by frame. Sizes and keys are of the frames' patches,
    [B * T, P].
    """

    LAYERS = "timesformer.encoder.layer"
    PARTS = MappingProxyType(
        {
            "temporal_norm": ["temporal_layernorm"],
            "temporal_qkv": ["temporal_attention.attention.qkv"],
            "temporal_out": ["temporal_attention.output.dense", "temporal_dense"],
            "norm_before": ["layernorm_before"],
            "qkv": ["attention.attention.qkv"],
            "out": ["attention.output.dense"],
            "norm_after": ["layernorm_after"],
            "mlp": ["intermediate", "output.dense"],
        }
    )

    @property
    def num_frames(self) -> int:
        """T, the frames of a clip."""
        return self.hugging_face.config.num_frames

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Returns class token and patches; the library has time innermost."""
        x = self.hugging_face.timesformer.embeddings(video)
        patches = x[:, 1:].unflatten(1, (-1, self.num_frames)).transpose(1, 2).flatten(1, 2)
        return torch.cat([x[:, :1], patches], dim=1)

    def layer(
        self,
        parts: Mapping[str, nn.Module],
        r_per_step: Sequence[int],
        x: Float[Tensor, "B N C"],
        size: Float[Tensor, "frames P"] | None,
        given: Iterator[Tensor | None],
        steps: list[Matching] | None,
    ) -> tuple[Float[Tensor, "B M C"], Float[Tensor, "frames K"] | None]:
        """Runs one layer, with its merging in all frames; a repetition runs the whole layer again."""
        frames = self.num_frames
        for r in r_per_step:
            cls, patches = x[:, :1], x[:, 1:].unflatten(1, (frames, -1))

            by_place = parts["temporal_norm"](patches).transpose(1, 2)
            attended = self._attend(*self._split(parts["temporal_qkv"](by_place.flatten(0, 1))))
            patches = patches + parts["temporal_out"](attended).view_as(by_place).transpose(1, 2)

            copies = cls[:, None].expand(-1, frames, -1, -1)
            by_frame = parts["norm_before"](torch.cat([copies, patches], dim=2))
            query, key, value = self._split(parts["qkv"](by_frame.flatten(0, 1)))
            if size is None:
                attended = self._attend(query, key, value)
            else:
                of_class = self._attend(query[:, :, :1], key, value)
                of_patches = self._attend(query[:, :, 1:], key, value, functional.pad(size, (1, 0), value=1))
                attended = torch.cat([of_class, of_patches], dim=1)
            added = parts["out"](attended).view_as(by_frame)
            cls, patches = cls + added[:, :, :1].mean(1), patches + added[:, :, 1:]

            kept, size = self._reduce(patches.flatten(0, 1), size, key[:, :, 1:], r, next(given), steps)
            x = torch.cat([cls, kept.unflatten(0, (-1, frames)).flatten(1, 2)], dim=1)
            x = x + parts["mlp"](parts["norm_after"](x))
        return x, size

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "frames K"] | None) -> Tensor:
        """Classifies the class token."""
        return self.hugging_face.classifier(self.hugging_face.timesformer.layernorm(x[:, 0]))

    def _split(self, qkv: Float[Tensor, "B N C3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values of one projection, each [B, H, N, D]."""
        query, key, value = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value
