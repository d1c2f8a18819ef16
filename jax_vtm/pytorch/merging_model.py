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
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from jax_vtm.merging import Reduction, clamp_r
from jax_vtm.pytorch import merging
from jax_vtm.pytorch.merging import Matching

Array = np.ndarray | Tensor

ATTENTIONS = ("eager", "sdpa")


@dataclasses.dataclass
class Traced:
    """Everything on the way from a video to logits.

    Attributes:
        embedding: Tokens entering the first layer, positions added.
        blocks: Tokens leaving each layer.
        steps: Matchings of each layer: one; none where nothing was removed; several in a repeated layer.
        size: Initial tokens that each final token stands for.
        logits: Of each class.
    """

    embedding: Float[Tensor, "B N C"] = dataclasses.field(init=False)
    blocks: list[Float[Tensor, "B K C"]] = dataclasses.field(default_factory=list)
    steps: list[list[Matching]] = dataclasses.field(default_factory=list)
    size: Float[Tensor, "B K"] = dataclasses.field(init=False)
    logits: Float[Tensor, "B classes"] = dataclasses.field(init=False)


class MergingModel(nn.Module):
    """Hugging Face's model with token merging between attention and MLP of every layer.

    Attributes:
        hugging_face: The library's model, whose weights these are.
        reduction: What is done with similar tokens.
        attention: "eager" (products and softmax) or "sdpa" (PyTorch's fused attention); proportional attention is an
            additive bias per key in both.
        has_class_token: Token 0 is a class token: protected, and read by the classifier.
    """

    # Where the library's layers are, and what it calls the parts of each, which may be several modules in a row.
    LAYERS: str
    PARTS: Mapping[str, Sequence[str]]

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
        layers = attrgetter(self.LAYERS)(hugging_face)
        # In a list, not as modules of this one, which has their weights already.
        self.layers = [
            {part: nn.Sequential(*(attrgetter(name)(layer) for name in names)) for part, names in self.PARTS.items()}
            for layer in layers
        ]
        self.r_per_layer = reduction.per_layer(len(self.layers))

    def with_attention(self, attention: str) -> MergingModel:
        """The same model, sharing its weights, with the other attention."""
        other = copy.copy(self)
        other.attention = attention
        return other

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Tokens with their positions."""
        raise NotImplementedError

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """From the last layer's tokens to logits."""
        raise NotImplementedError

    def forward(
        self,
        video: Float[Tensor, "B T H W 3"],
        scores: Sequence[Tensor | None] | None = None,
        trace: Traced | None = None,
    ) -> Float[Tensor, "B classes"]:
        """Classifies clips.

        Args:
            video: Pixels in the range of the checkpoint; channels last, as everywhere in jax_vtm.
            scores: Similarities [B, S, T] in place of the keys' cosine (or of random numbers), one entry per step:
                per layer, unless a layer is repeated. None in place of an entry leaves that step as it is.
            trace: Is given what happens on the way.
        """
        x, size = self.embed(video.movedim(-1, 2)), None
        given = iter(scores or [None] * sum(map(len, self.r_per_layer)))
        if trace is not None:
            trace.embedding = x
        for parts, r_per_step in zip(self.layers, self.r_per_layer, strict=True):
            steps: list[Matching] | None = [] if trace is not None else None
            # A repetition looks at the layer's keys and merges; only the last round attends.
            for r in r_per_step[:-1]:
                keys = self._heads(parts["key"](parts["norm_before"](x)))
                x, size = self._reduce(x, size, keys, r, next(given), steps)
            normed = parts["norm_before"](x)
            query, keys, value = (self._heads(parts[name](normed)) for name in ("query", "key", "value"))
            attended = self._attend(query, keys, value, size)
            x = x + parts["out"](attended.transpose(1, 2).flatten(2))
            x, size = self._reduce(x, size, keys, r_per_step[-1], next(given), steps)
            x = x + parts["mlp"](parts["norm_after"](x))
            if trace is not None and steps is not None:
                trace.blocks.append(x)
                trace.steps.append(steps)
        logits = self.classify(x, size)
        if trace is not None:
            trace.size = x.new_ones(x.shape[:2]) if size is None else size
            trace.logits = logits
        return logits

    def traced(self, video: Array, scores: Sequence[Array | None] | None = None) -> Traced:
        """Classifies clips and keeps what happens on the way; arguments as of `forward`, numpy arrays too."""
        given = None if scores is None else [None if one is None else torch.as_tensor(one) for one in scores]
        trace = Traced()
        with torch.inference_mode():
            self(torch.as_tensor(video), given, trace)
        return trace

    def classifier(self, video: Array) -> Callable[[], Tensor]:
        """Returns a function that classifies these clips, for timing."""
        tensor = torch.as_tensor(video)
        return torch.inference_mode()(lambda: self(tensor))

    def _heads(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B H N D"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, size: Tensor | None) -> Float[Tensor, "B H N D"]:
        bias = size.log()[:, None, None, :] if self.proportional and size is not None else None
        if self.attention == "sdpa":
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return (scores if bias is None else scores + bias).softmax(dim=-1) @ value

    def _reduce(
        self, x: Tensor, size: Tensor | None, keys: Tensor, r: int, given: Tensor | None, steps: list[Matching] | None
    ) -> tuple[Tensor, Tensor | None]:
        """One step: fewer tokens, and how many initial ones each stands for (None while all are 1)."""
        r = clamp_r(x.shape[1], r, int(self.has_class_token))
        if r == 0:
            return x, size
        with torch.no_grad():
            scores = self._scores(keys) if given is None else given
            ascending = self.reduction.layout == "fixed"
            matching = merging.bipartite_soft_matching(scores, r, class_token=self.has_class_token, ascending=ascending)
        if steps is not None:
            steps.append(matching)
        if self.reduction.drops:
            return merging.drop(matching, x), None
        hybrid = self.reduction.mode == "hybrid"
        replaced = merging.replaced_tokens(matching, self.reduction.threshold) if hybrid else None
        return merging.merge_weighted(matching, x, size, replaced)

    def _scores(self, keys: Float[Tensor, "B H N D"]) -> Float[Tensor, "B S T"]:
        if self.reduction.is_random:
            batch, _, tokens, _ = keys.shape
            return torch.rand(batch, (tokens + 1) // 2, tokens // 2, device=keys.device)
        return merging.cosine_scores(merging.metric_from_keys(keys, self.reduction.head_aggregation))


class MergingViViT(MergingModel):
    """`VivitForVideoClassification` with token merging."""

    LAYERS = "vivit.layers"
    PARTS = MappingProxyType(
        {
            "norm_before": ["layernorm_before"],
            "query": ["attention.q_proj"],
            "key": ["attention.k_proj"],
            "value": ["attention.v_proj"],
            "out": ["attention.o_proj"],
            "norm_after": ["layernorm_after"],
            "mlp": ["mlp"],
        }
    )

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Class token and tubelets."""
        return self.hugging_face.vivit.embeddings(video)

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """Reads the class token."""
        return self.hugging_face.classifier(self.hugging_face.vivit.layernorm(x)[:, 0])


class MergingVideoMAE(MergingModel):
    """`VideoMAEForVideoClassification` with token merging."""

    LAYERS = "videomae.encoder.layer"
    PARTS = MappingProxyType(
        {
            "norm_before": ["layernorm_before"],
            "query": ["attention.attention.query"],
            "key": ["attention.attention.key"],
            "value": ["attention.attention.value"],
            "out": ["attention.output.dense"],
            "norm_after": ["layernorm_after"],
            "mlp": ["intermediate", "output.dense"],
        }
    )

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
