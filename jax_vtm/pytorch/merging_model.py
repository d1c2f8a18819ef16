"""Token merging inside Hugging Face's ViViT and VideoMAE; `merging_timesformer` has TimeSformer.

Embeddings, projections of attention, normalisations, MLPs and classifier are the library's modules; attention over
merged tokens and the merging between them are ours:

    x = x + attention(layernorm_before(x))     keys are the metric; log(size) on the scores if attention is proportional
    x, size = merge(x, size)                   fewer tokens from here on
    x = x + mlp(layernorm_after(x))

Written for the module names of transformers 5.24.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, clamp_r
from jax_vtm.pytorch import merging
from jax_vtm.pytorch.merging import Matching

Array = np.ndarray | Tensor

ATTENTIONS = ("eager", "sdpa")


@dataclasses.dataclass
class Traced:
    """The intermediate values of a model.

    Attributes:
        embedding: Tokens entering the first layer, with positions.
        blocks: Tokens leaving each layer.
        steps: Matchings of each layer: one, none if it removes nothing, several in a repeated layer. Their rows are
            the clips, or the frames of all clips where these are merged apart.
        size: Initial tokens of each final token, in the rows of the matchings; None if all are 1.
        logits: Of each class.
    """

    embedding: Float[Tensor, "B N C"] = dataclasses.field(init=False)
    blocks: list[Float[Tensor, "B K C"]] = dataclasses.field(default_factory=list)
    steps: list[list[Matching]] = dataclasses.field(default_factory=list)
    size: Float[Tensor, "B K"] | None = dataclasses.field(init=False)
    logits: Float[Tensor, "B classes"] = dataclasses.field(init=False)


class MergingModel(nn.Module):
    """Hugging Face's model with token merging between attention and MLP of every layer.

    Attributes:
        hugging_face: The library's model, which has the weights.
        reduction: The token reduction.
        attention: "eager" (products and softmax) or "sdpa" (PyTorch's fused attention).
    """

    # Paths of the library's layers and of their parts, each one or several modules in sequence.
    LAYERS: str
    PARTS: Mapping[str, Sequence[str]]
    # Whether the first of the tokens to match is a class token, which is protected.
    MATCHES_CLASS_TOKEN = False

    def __init__(
        self,
        hugging_face: Any,
        reduction: Reduction,
        attention: str,
        *,
        num_heads: int,
        proportional: bool,
    ):
        super().__init__()
        if reduction.input is not None:
            raise UserError("reduction.input is in JAX alone; compare without it: --config.reduction.input.keep=0.")
        if not isinstance(reduction.mode, str):
            raise UserError("reduction.mode with one per layer is in JAX alone; compare with one for all layers.")
        if reduction.mean != "weighted":
            raise UserError("reduction.mean is in JAX alone; compare with --config.reduction.mean=weighted.")
        if reduction.importance != "similarity":
            raise UserError(
                "reduction.importance is in JAX alone; compare with --config.reduction.importance=similarity."
            )
        self.hugging_face = hugging_face
        self.reduction = reduction
        self.attention = attention
        self.num_heads = num_heads
        self.proportional = proportional
        layers = attrgetter(self.LAYERS)(hugging_face)
        # A plain list, so that the weights are not registered twice.
        self.layers = [
            {part: nn.Sequential(*(attrgetter(name)(layer) for name in names)) for part, names in self.PARTS.items()}
            for layer in layers
        ]
        self.r_per_layer = reduction.per_layer(len(self.layers))

    def with_attention(self, attention: str) -> MergingModel:
        """Returns a copy with another attention that shares the weights."""
        other = copy.copy(self)
        other.attention = attention
        return other

    def embed(self, video: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B N C"]:
        """Returns the tokens with positions."""
        raise NotImplementedError

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """Returns the logits of the last layer's tokens."""
        raise NotImplementedError

    def forward(
        self,
        video: Float[Tensor, "B T H W 3"],
        scores: Sequence[Tensor | None] | None = None,
        trace: Traced | None = None,
    ) -> Float[Tensor, "B classes"]:
        """Classifies clips.

        Args:
            video: Normalised pixels, channels last.
            scores: Similarities [B, S, T] per step, which replace the keys' cosine or random numbers; steps are the
                layers and their repetitions. None keeps a step's own scores.
            trace: Receives the intermediate values.
        """
        x, size = self.embed(video.movedim(-1, 2)), None
        given = iter(scores or [None] * sum(map(len, self.r_per_layer)))
        if trace is not None:
            trace.embedding = x
        for parts, r_per_step in zip(self.layers, self.r_per_layer, strict=True):
            steps: list[Matching] | None = [] if trace is not None else None
            x, size = self.layer(parts, r_per_step, x, size, given, steps)
            if trace is not None and steps is not None:
                trace.blocks.append(x)
                trace.steps.append(steps)
        logits = self.classify(x, size)
        if trace is not None:
            trace.size = size
            trace.logits = logits
        return logits

    def layer(
        self,
        parts: Mapping[str, nn.Module],
        r_per_step: Sequence[int],
        x: Float[Tensor, "B N C"],
        size: Float[Tensor, "B N"] | None,
        given: Iterator[Tensor | None],
        steps: list[Matching] | None,
    ) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K"] | None]:
        """Runs one layer; takes the next of the given scores for every step, and appends the matchings to `steps`."""
        # Repetitions compute the layer's keys and merge; only the last step attends.
        for r in r_per_step[:-1]:
            keys = self._heads(parts["key"](parts["norm_before"](x)))
            x, size = self._reduce(x, size, keys, r, next(given), steps)
        normed = parts["norm_before"](x)
        query, keys, value = (self._heads(parts[name](normed)) for name in ("query", "key", "value"))
        x = x + parts["out"](self._attend(query, keys, value, size))
        x, size = self._reduce(x, size, keys, r_per_step[-1], next(given), steps)
        return x + parts["mlp"](parts["norm_after"](x)), size

    def traced(self, video: Array, scores: Sequence[Array | None] | None = None) -> Traced:
        """Classifies clips and returns the intermediate values; takes the arguments of `forward`, or numpy arrays."""
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

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, size: Tensor | None = None) -> Float[Tensor, "B N C"]:
        """Attends by heads [B, H, N, D], and joins them."""
        bias = size.log()[:, None, None, :] if self.proportional and size is not None else None
        if self.attention == "sdpa":
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            attended = (scores if bias is None else scores + bias).softmax(dim=-1) @ value
        return attended.transpose(1, 2).flatten(2)

    def _reduce(
        self, x: Tensor, size: Tensor | None, keys: Tensor, r: int, given: Tensor | None, steps: list[Matching] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Reduces tokens in one step; returns them and their sizes (None while all are 1)."""
        class_token = self.MATCHES_CLASS_TOKEN
        r = clamp_r(x.shape[1], r, int(class_token))
        if r == 0:
            return x, size
        with torch.no_grad():
            scores = self._scores(keys) if given is None else given
            ascending = self.reduction.layout == "fixed"
            matching = merging.bipartite_soft_matching(scores, r, class_token=class_token, ascending=ascending)
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

    MATCHES_CLASS_TOKEN = True
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
        """Returns class token and tubelets."""
        return self.hugging_face.vivit.embeddings(video)

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """Classifies the class token."""
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
        """Returns the unmasked tubelets."""
        return self.hugging_face.videomae.embeddings(video, None)

    def classify(self, x: Float[Tensor, "B K C"], size: Float[Tensor, "B K"] | None) -> Float[Tensor, "B classes"]:
        """Classifies the mean of the tokens, weighted by size in the "fixed" layout."""
        if self.reduction.layout == "fixed" and size is not None:
            pooled = (x * size[..., None]).sum(1) / size.sum(1, keepdim=True)
        else:
            pooled = x.mean(1)
        return self.hugging_face.classifier(self.hugging_face.fc_norm(pooled))
