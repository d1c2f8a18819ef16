"""Token merging inside Hugging Face's ViViT and VideoMAE, without changing the library.

Every weight and every product with one is the library's: embeddings, the projections of attention, normalisations, MLP
and classifier are its modules, called one after the other. In between, and only there, are attention over merged
tokens and the merging itself.

    x = x + attention(layernorm_before(x))     keys are the metric; log(size) on the scores if attention is proportional
    x, size = merge(x, size)                   fewer tokens from here on
    x = x + mlp(layernorm_after(x))

Written for the module names of transformers 5.24.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from jax_vtm.merging import Reduction, clamp_r
from jax_vtm.pytorch import merging
from jax_vtm.pytorch.merging import Matching

ATTENTIONS = ("eager", "sdpa")


@dataclasses.dataclass(frozen=True)
class LayerParts:
    """What a layer of either model is made of, under one set of names."""

    norm_before: Callable[[Tensor], Tensor]
    query: Callable[[Tensor], Tensor]
    key: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    out: Callable[[Tensor], Tensor]
    norm_after: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Step:
    """One matching, and the scores that it was decided by."""

    scores: Float[Tensor, "B S T"]
    matching: Matching


@dataclasses.dataclass(frozen=True)
class Traced:
    """Everything on the way from a video to logits.

    Attributes:
        embedding: Tokens entering the first layer, positions added.
        blocks: Tokens leaving each layer.
        steps: Matchings of each layer: one; none where nothing was removed; several in a repeated layer.
        size: Initial tokens that each final token stands for.
        logits: Of each class.
    """

    embedding: Float[Tensor, "B N C"]
    blocks: tuple[Float[Tensor, "B K C"], ...]
    steps: tuple[tuple[Step, ...], ...]
    size: Float[Tensor, "B K"]
    logits: Float[Tensor, "B classes"]


class MergingModel(nn.Module):
    """Hugging Face's model with token merging between attention and MLP of every layer.

    Attributes:
        hugging_face: The library's model, whose weights these are.
        reduction: What is done with similar tokens.
        attention: "eager" (products and softmax) or "sdpa" (PyTorch's fused attention); proportional attention is an
            additive bias per key in both.
        has_class_token: Token 0 is a class token: protected, and read by the classifier.
    """

    def __init__(
        self,
        hugging_face: Any,
        reduction: Reduction,
        attention: str,
        *,
        num_heads: int,
        proportional: bool,
        has_class_token: bool,
    ):
        super().__init__()
        self.hugging_face = hugging_face
        self.reduction = reduction
        self.attention = attention
        self.num_heads = num_heads
        self.proportional = proportional
        self.has_class_token = has_class_token
        self.r_per_layer = reduction.per_layer(len(self.layers()))

    def with_attention(self, attention: str) -> MergingModel:
        """The same model, sharing its weights, with the other attention."""
        other = copy.copy(self)
        other.attention = attention
        return other

    def layers(self) -> Sequence[LayerParts]:
        """The library's layers, first to last."""
        raise NotImplementedError

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Tokens with their positions."""
        raise NotImplementedError

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """From the last layer's tokens to logits."""
        raise NotImplementedError

    def forward(
        self, video: Float[Tensor, "B T H W 3"], scores: Sequence[Tensor | None] | None = None
    ) -> Float[Tensor, "B classes"]:
        """Classifies clips.

        Args:
            video: Pixels in the range of the checkpoint; channels last, as everywhere in jax_vtm.
            scores: Similarities [B, S, T] in place of the keys' cosine (or of random numbers), one entry per step:
                per layer, unless a layer is repeated. None in place of an entry leaves that step as it is.
        """
        return self._run(video, scores, None)

    def traced(self, video: Float[Tensor, "B T H W 3"], scores: Sequence[Tensor | None] | None = None) -> Traced:
        """Classifies clips and keeps what happens on the way; arguments as of `forward`."""
        kept = _Kept()
        logits = self._run(video, scores, kept)
        last = kept.blocks[-1]
        size = last.new_ones(last.shape[:2]) if kept.size is None else kept.size
        return Traced(kept.blocks[0], tuple(kept.blocks[1:]), tuple(map(tuple, kept.steps)), size, logits)

    def _run(self, video: Tensor, scores: Sequence[Tensor | None] | None, kept: _Kept | None) -> Tensor:
        x, size = self.embed(video.movedim(-1, 2)), None
        given = iter(scores or [None] * sum(map(len, self.r_per_layer)))
        if kept is not None:
            kept.blocks.append(x)
        for parts, r_per_step in zip(self.layers(), self.r_per_layer, strict=True):
            if kept is not None:
                kept.steps.append([])
            # A repetition looks at the layer's keys and merges; only the last round attends.
            for r in r_per_step[:-1]:
                keys = self._heads(parts.key(parts.norm_before(x)))
                x, size = self._reduce(x, size, keys, r, next(given), kept)
            normed = parts.norm_before(x)
            query, keys, value = (self._heads(part(normed)) for part in (parts.query, parts.key, parts.value))
            attended = self._attend(query, keys, value, size)
            x = x + parts.out(attended.transpose(1, 2).flatten(2))
            x, size = self._reduce(x, size, keys, r_per_step[-1], next(given), kept)
            x = x + parts.mlp(parts.norm_after(x))
            if kept is not None:
                kept.blocks.append(x)
        if kept is not None:
            kept.size = size
        return self.classify(x, size)

    def _heads(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B H N D"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, size: Tensor | None) -> Float[Tensor, "B H N D"]:
        bias = size.log()[:, None, None, :] if self.proportional and size is not None else None
        if self.attention == "sdpa":
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return (scores if bias is None else scores + bias).softmax(dim=-1) @ value

    def _reduce(
        self, x: Tensor, size: Tensor | None, keys: Tensor, r: int, given: Tensor | None, kept: _Kept | None
    ) -> tuple[Tensor, Tensor | None]:
        """One step: fewer tokens, and how many initial ones each stands for (None while all are 1)."""
        r = clamp_r(x.shape[1], r, int(self.has_class_token))
        if r == 0:
            return x, size
        with torch.no_grad():
            scores = self._scores(keys) if given is None else given
            ascending = self.reduction.layout == "fixed"
            matching = merging.bipartite_soft_matching(scores, r, class_token=self.has_class_token, ascending=ascending)
        if kept is not None:
            kept.steps[-1].append(Step(scores, matching))
        if self.reduction.drops:
            return merging.drop(matching, x), None
        emptied = None
        if self.reduction.mode == "hybrid":
            emptied = merging.emptied_survivors(matching, self.reduction.threshold)
        return merging.merge_weighted(matching, x, size, emptied)

    def _scores(self, keys: Float[Tensor, "B H N D"]) -> Float[Tensor, "B S T"]:
        if self.reduction.is_random:
            batch, _, tokens, _ = keys.shape
            return torch.rand(batch, (tokens + 1) // 2, tokens // 2, device=keys.device)
        return merging.cosine_scores(merging.metric_from_keys(keys, self.reduction.head_aggregation))


class MergingViViT(MergingModel):
    """`VivitForVideoClassification` with token merging."""

    def layers(self) -> Sequence[LayerParts]:
        """The library's layers, first to last."""
        return [
            LayerParts(
                norm_before=layer.layernorm_before,
                query=layer.attention.q_proj,
                key=layer.attention.k_proj,
                value=layer.attention.v_proj,
                out=layer.attention.o_proj,
                norm_after=layer.layernorm_after,
                mlp=layer.mlp,
            )
            for layer in self.hugging_face.vivit.layers
        ]

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Class token and tubelets."""
        return self.hugging_face.vivit.embeddings(video)

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """Reads the class token."""
        return self.hugging_face.classifier(self.hugging_face.vivit.layernorm(x)[:, 0])


class MergingVideoMAE(MergingModel):
    """`VideoMAEForVideoClassification` with token merging."""

    def layers(self) -> Sequence[LayerParts]:
        """The library's layers, first to last."""
        return [
            LayerParts(
                norm_before=layer.layernorm_before,
                query=layer.attention.attention.query,
                key=layer.attention.attention.key,
                value=layer.attention.attention.value,
                out=layer.attention.output.dense,
                norm_after=layer.layernorm_after,
                mlp=nn.Sequential(layer.intermediate, layer.output.dense),
            )
            for layer in self.hugging_face.videomae.encoder.layer
        ]

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Tubelets, none of them masked."""
        return self.hugging_face.videomae.embeddings(video, None)

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """Reads the tokens' mean: plain as in the reference, or weighted by size in the "fixed" layout."""
        if self.reduction.layout == "fixed" and size is not None:
            pooled = (x * size[..., None]).sum(1) / size.sum(1, keepdim=True)
        else:
            pooled = x.mean(1)
        return self.hugging_face.classifier(self.hugging_face.fc_norm(pooled))


@dataclasses.dataclass
class _Kept:
    """What `traced` collects on the way."""

    blocks: list[Tensor] = dataclasses.field(default_factory=list)
    steps: list[list[Step]] = dataclasses.field(default_factory=list)
    size: Tensor | None = None
