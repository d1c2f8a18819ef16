"""Runs our JAX model and Hugging Face's in PyTorch, and records tokens, groups and decisions of every layer."""

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Float, Int
from safetensors.numpy import save_file

from jax_vtm.checkpoints import load_checkpoint, to_hugging_face
from jax_vtm.merging import (
    Matching,
    Reduction,
    TokenState,
    bipartite_soft_matching,
    compose,
    cosine_scores,
    initial_membership,
    membership_of,
    metric_from_keys,
    replaced_tokens,
)
from jax_vtm.models import TimeSformer, Trace, ViViT
from jax_vtm.models.frames import clip_trace
from jax_vtm.models.videomae import sinusoid_positions
from jax_vtm.parity.differences import Decision, Traced
from jax_vtm.pytorch.hugging_face import WEIGHTS_FILE, Comparable, merging_model, save_weights
from jax_vtm.pytorch.merging import Matching as TorchMatching
from jax_vtm.pytorch.merging_model import MergingModel
from jax_vtm.pytorch.merging_timesformer import MergingTimeSformer

Scores = Sequence[np.ndarray | None]


def same_weights(
    model: Comparable, preset: str, fields: dict[str, Any], *, checkpoint: str, attention: str, seed: int
) -> tuple[dict[str, Any], MergingModel]:
    """Returns our variables and the PyTorch model with the same weights, passed through a file of Hugging Face's form.

    Args:
        model: Our model, with one head.
        preset: Its name.
        fields: Fields that replace the preset's.
        checkpoint: As for `load_checkpoint`; "" draws random weights.
        attention: PyTorch's attention.
        seed: Of random weights.
    """
    build = functools.partial(merging_model, preset, model.reduction, attention, **fields)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not checkpoint:
            theirs = build(seed=seed)
            return load_checkpoint(save_weights(theirs, folder), model), theirs
        variables = load_checkpoint(checkpoint, model)
        save_file(to_hugging_face(variables, model), folder / WEIGHTS_FILE, metadata={"format": "pt"})
        return variables, build(weights=folder)


def trace_pytorch(theirs: MergingModel, video: Float[np.ndarray, "B T H W 3"], scores: Scores | None = None) -> Traced:
    """Runs the PyTorch side; `scores` per layer replace the cosine of the keys."""
    found = theirs.traced(video, scores)
    frames = theirs.num_frames if isinstance(theirs, MergingTimeSformer) else None
    batch, tokens, _ = found.embedding.shape
    matched = (batch, tokens) if frames is None else (batch * frames, (tokens - 1) // frames)
    groups, after, decisions = initial_membership(*matched), [], []
    for steps, block in zip(found.steps, found.blocks, strict=True):
        # The last one of a repeated layer.
        matching = steps[-1] if steps else None
        decisions.append(matching and Decision(*(part.numpy() for part in _indices(matching))))
        if matching is not None:
            groups = compose(groups, _membership(matching, theirs.reduction))
        after.append(np.asarray(groups if frames is None else _of_clips(groups, block.shape[1], frames)))
    blocks = tuple(block.numpy() for block in found.blocks)
    return Traced(found.embedding.numpy(), blocks, tuple(after), tuple(decisions), found.logits.numpy())


def _indices(matching: TorchMatching):
    return matching.scores, matching.kept, matching.src, matching.dst


def _membership(theirs: TorchMatching, reduction: Reduction) -> Int[jax.Array, "B N"]:
    scores, *index = *_indices(theirs), theirs.score
    matching = Matching(*(jnp.asarray(part.numpy()) for part in index), num_tokens=sum(scores.shape[1:]))
    replaced = replaced_tokens(matching, reduction.threshold) if reduction.mode == "hybrid" else None
    return membership_of(matching, dropped=reduction.drops, replaced=replaced)


def _of_clips(groups: Int[jax.Array, "frames P"], kept: int, num_frames: int) -> Int[jax.Array, "B N"] | None:
    """Numbers the groups of frames as our traces do those of clips, with the class token."""
    of_frames = TokenState(jnp.zeros((len(groups), (kept - 1) // num_frames)), groups)
    return clip_trace([of_frames], groups.shape[1] * num_frames, num_frames).membership


def jax_tracer(model: Comparable, variables: dict[str, Any]) -> Callable[[np.ndarray, Scores | None], Traced]:
    """Returns a function that runs our side on a video, with scores per layer or None.

    With scores it replays their decisions, and records its own decisions on the same tokens; a random reduction has
    none.
    """
    counts = _matched_tokens(model)
    by_keys = not model.reduction.is_random
    class_token, ascending = matches_class_token(model), model.reduction.layout == "fixed"

    @jax.jit
    def forward(variables, video):
        return model.apply(variables, video, trace=True, capture_intermediates=_is_compared)

    @functools.partial(jax.jit, static_argnums=1)
    def decide(keys, r):
        scores = cosine_scores(metric_from_keys(keys, model.reduction.head_aggregation))
        matching = bipartite_soft_matching(scores, r, class_token=class_token, ascending=ascending)
        return scores, matching.kept, matching.src, matching.dst

    def trace(video: np.ndarray, scores: Scores | None) -> Traced:
        given = {} if scores is None else {"scores": _score_tree(model, scores)}
        found, captured = forward({**variables, **given}, video)
        logits, traced = cast(tuple[jax.Array, Trace], found)
        inner = captured["intermediates"]
        blocks, decisions = [], []
        for layer in range(model.num_layers):
            output, keys = _block(model, inner, layer)
            blocks.append(np.asarray(output))
            r = counts[layer] - counts[layer + 1]
            decisions.append(Decision(*map(np.asarray, decide(keys, r))) if r and by_keys else None)
        groups = tuple(np.asarray(state.membership) for state in traced.layers)
        return Traced(_embedding(model, inner), tuple(blocks), groups, tuple(decisions), np.asarray(logits))

    return trace


def uniform_scores(model: Comparable, batch: int, seed: int) -> Scores:
    """Draws the scores of a random reduction for both sides."""
    random = np.random.default_rng(seed)
    rows = batch * model.num_groups if isinstance(model, TimeSformer) else batch
    shapes = [(rows, (tokens + 1) // 2, tokens // 2) for tokens in _matched_tokens(model)[:-1]]
    return [random.random(shape, dtype=np.float32) for shape in shapes]


def matches_class_token(model: Comparable) -> bool:
    """Returns whether the first of the tokens to match is a class token; TimeSformer matches patches alone."""
    return isinstance(model, ViViT)


def _matched_tokens(model: Comparable) -> list[int]:
    """Returns the tokens of each matching, and last, of the output: of a clip, or the patches of a frame."""
    if isinstance(model, TimeSformer):
        return [(tokens - 1) // model.num_groups for tokens in model.tokens_per_layer]
    return list(model.tokens_per_layer)


def _is_compared(module: Any, method: str) -> bool:
    names = ("encoderblock_", "MultiHeadDotProductAttention_0", "attention", "posembed_input", "embedding", "positions")
    return method == "__call__" and (module.name or "").startswith(names)


def _block(model: Comparable, captured: dict, layer: int) -> tuple[jax.Array, jax.Array]:
    """Returns the output tokens of a block, and the keys that its matching compares."""
    vivit = isinstance(model, ViViT)
    block = (captured["Transformer"] if vivit else captured)[f"encoderblock_{layer}"]
    attention = block["MultiHeadDotProductAttention_0" if vivit else "attention"]
    output, (_, keys) = block["__call__"][0], attention["__call__"][0]
    return _clip_tokens(*output[:2]) if isinstance(model, TimeSformer) else output[0], keys


def _clip_tokens(cls: Float[jax.Array, "B 1 C"], patches: Float[jax.Array, "B T P C"]) -> Float[jax.Array, "B N C"]:
    return jnp.concatenate([cls, patches.reshape(len(cls), -1, cls.shape[-1])], axis=1)


def _embedding(model: Comparable, captured: dict) -> Float[np.ndarray, "B N C"]:
    if isinstance(model, ViViT):
        return np.asarray(captured["Transformer"]["posembed_input"]["__call__"][0])
    if isinstance(model, TimeSformer):
        return np.asarray(_clip_tokens(*captured["positions"]["__call__"][0]))
    patches = np.asarray(captured["embedding"]["__call__"][0])
    patches = patches.reshape(len(patches), -1, model.hidden_size)
    return patches + sinusoid_positions(*patches.shape[1:])


def _score_tree(model: Comparable, scores: Scores) -> dict[str, Any]:
    """Returns the scores as a tree of the model's variables."""
    home = "Transformer/" if isinstance(model, ViViT) else ""
    names = [f"{home}encoderblock_{layer}/TokenReduction_0/scores" for layer in range(len(scores))]
    given = {name: jnp.asarray(one) for name, one in zip(names, scores, strict=True) if one is not None}
    return unflatten_dict(given, sep="/")
