"""What "auto" is on GPUs and TPUs: the backends that are fastest there, measured at a few of the model's own shapes.

Half a minute at most, once for every kind of device, set of shapes and versions: the choice is kept in the cache.
"""

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.experimental import multihost_utils
from jax.extend.backend import get_backend

import jax_vtm
from jax_vtm.evaluation.backend_trials import (
    Part,
    attention,
    attention_along_trajectories,
    attention_over_frames,
    matching,
    merging,
    reason,
    tried,
)
from jax_vtm.evaluation.evaluator import Variant
from jax_vtm.evaluation.progress import waiting
from jax_vtm.files import cache_folder, write_text
from jax_vtm.merging import TokenReduction, clamp_r
from jax_vtm.merging.backends.choice import Measured
from jax_vtm.models import VideoClassifier
from jax_vtm.models.layers import MultiHeadDotProductAttention
from jax_vtm.models.motionformer import TrajectoryAttention

# No further shape is begun afterwards; compiling is part of it.
SECONDS = 20.0
ROUNDS, ROUND_SECONDS = 3, 0.02
CLIPS = 2
MOST_BYTES = 2**16


def with_fastest_backends(variants: Sequence[Variant], *, platform: str | None = None) -> list[Variant]:
    """Replaces "auto" by what is fastest, the same for all variants and in all processes; on a CPU it stays.

    Args:
        variants: Of one architecture; the first merges least, the last most.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.
    """
    model = variants[0].model
    fields = [name for name in ("attention", "matching", "merging") if getattr(model, name) == "auto"]
    if (platform or jax.default_backend()) == "cpu" or not fields:
        return list(variants)
    parts = [part for one in (variants[0], variants[-1]) for part in parts_of(one.model)]
    wanted = _few([part for part in parts if part.field in fields])
    with waiting("measuring which backends are fastest"):
        found = fastest(wanted, cache_folder() / "backends") if jax.process_index() == 0 else {}
        chosen: dict[str, Any] = {**_from_first(found)}
    if jax.process_index() == 0 and chosen:
        print(f"auto: {'; '.join(line for one in chosen.values() for line in one.said)}", file=sys.stderr, flush=True)
    return [dataclasses.replace(one, model=one.model.clone(**chosen)) for one in variants]


def parts_of(model: VideoClassifier) -> list[Part]:
    """Lists the attentions, matchings and merges of a model, of a few clips, without computing any."""
    dtype, parts = jnp.dtype(model.dtype or jnp.float32).name, []

    def note(call, args, kwargs, context):
        if isinstance(context.module, MultiHeadDotProductAttention) and context.method_name == "attend":
            query, key = args[:2]
            *rows, keys, heads, width = key.shape
            count = math.prod(rows)
            sharing = count // math.prod(query.shape[:-3])
            parts.append(attention(count, query.shape[-3], keys, heads, width, dtype, sharing=sharing))
        if isinstance(context.module, MultiHeadDotProductAttention) and context.method_name == "over_frames":
            *rows, frames, places, channels = args[0].shape
            heads = context.module.num_heads
            parts.append(attention_over_frames(math.prod(rows), frames, places, heads, channels // heads, dtype))
        if isinstance(context.module, TrajectoryAttention) and context.method_name == "along_trajectories":
            (*_, heads, width), (batch, frames, patches, _) = args[0].shape, args[1].shape
            parts.append(attention_along_trajectories(batch, frames, patches, heads, width, dtype))
        if isinstance(context.module, TokenReduction) and context.method_name == "__call__":
            (batch, tokens, channels), (*_, heads, width) = args[0].shape, args[1].shape
            reduction = context.module.reduction
            features = heads * width if reduction.head_aggregation == "concat" else width
            r = clamp_r(tokens, context.module.r, int(context.module.class_token))
            if r > 0 and reduction.compares:
                parts.append(matching(batch, tokens, features))
            if r > 0 and not reduction.drops:
                parts.append(merging(batch, tokens, r, channels))
        return call(*args, **kwargs)

    def run(video):
        with nn.intercept_methods(note):
            return model.init_with_output({"params": jax.random.key(0), "reduction": jax.random.key(1)}, video)[0]

    jax.eval_shape(run, jax.ShapeDtypeStruct((CLIPS, *model.input_shape), jnp.float32))
    return parts


def fastest(parts: Sequence[Part], folder: pathlib.Path) -> dict[str, Measured]:
    """Finds by field of the model what is fastest at every shape, in the folder or else by measuring.

    A backend that fails or does not agree with the plain form is named and left out. Where none agrees, the plain form
    is taken, and where that fails, "auto" is as it is without measuring.
    """
    began = time.monotonic()
    names = [[part.what, part.shape, part.dtype, list(part.backends)] for part in parts]
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}
    # Of the device's own library, such as libtpu or CUDA, the client knows the version.
    versions |= {"jax_vtm": jax_vtm.__version__, "platform": get_backend().platform_version}
    made_for = {"device": jax.local_devices()[0].device_kind, "parts": names, "versions": versions}
    path = folder / f"{hashlib.sha256(json.dumps(made_for).encode()).hexdigest()[:16]}.json"
    try:
        return _measured(json.loads(path.read_text())["chosen"])
    # Not there, or damaged: then it is measured.
    except (OSError, ValueError, LookupError, TypeError):
        pass
    chosen: dict[str, Any] = {}
    for part in parts:
        if time.monotonic() - began > SECONDS:
            break
        taken, said = _fastest_of(part)
        one = chosen.setdefault(part.field, {"at": [], "said": []})
        one["at"].append([part.shape, taken])
        one["said"].append(f"{part.what} of {' x '.join(map(str, part.shape))}: {', '.join(said)}")
    write_text(path, f"{json.dumps({**made_for, 'chosen': chosen}, indent=2)}\n")
    return _measured(chosen)


def _fastest_of(part: Part) -> tuple[str, list[str]]:
    """Returns the backend to take, and what is to be said of it and of others."""
    try:
        trials = tried(part, rounds=ROUNDS, seconds=ROUND_SECONDS)
    # The plain form may need more memory than there is.
    except Exception as error:
        return "auto", [f"not measured, since the plain form {reason(error)}"]
    ms = {name: trial.ms["median"] for name, trial in trials.items() if trial.ms}
    left_out = [f"{name} left out: {trial.reason}" for name, trial in trials.items() if trial.reason]
    if not ms:
        return part.plain_backend, [f"{part.plain_backend}, the plain form, since no backend agrees with it", *left_out]
    best = min(ms, key=ms.__getitem__)
    return best, [
        best,
        *(f"{ms[name] / ms[best]:.2f} times as fast as {name}" for name in ms if name != best),
        *left_out,
    ]


def _measured(chosen: Mapping[str, Any]) -> dict[str, Measured]:
    return {
        what: Measured(tuple((tuple(shape), name) for shape, name in one["at"]), tuple(one["said"]))
        for what, one in chosen.items()
    }


def _few(parts: Sequence[Part]) -> list[Part]:
    """Of each computation the largest shape, the smallest and one in between; the largest of all come first."""
    kinds = []
    # By name, so that attention of a clip or frame comes before that over frames.
    for what in sorted({part.what for part in parts}):
        # Of the same shape the first, with most rows.
        shapes = {part.shape: part for part in reversed(parts) if part.what == what}
        by_size = sorted(shapes.values(), key=lambda part: -math.prod(part.shape))
        kinds.append([by_size[place] for place in dict.fromkeys((0, len(by_size) - 1, len(by_size) // 2))])
    return [part for rank in itertools.zip_longest(*kinds) for part in rank if part]


def _from_first(chosen: dict[str, Measured]) -> dict[str, Measured]:
    """Returns what process 0 has chosen."""
    if jax.process_count() == 1:
        return chosen
    text = json.dumps({what: dataclasses.asdict(one) for what, one in chosen.items()}).encode()[:MOST_BYTES]
    given = multihost_utils.broadcast_one_to_all(np.frombuffer(text.ljust(MOST_BYTES), np.uint8))
    return _measured(json.loads(np.asarray(given, np.uint8).tobytes()))
