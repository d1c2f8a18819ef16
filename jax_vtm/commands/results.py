"""From an evaluation's outcome to what `results.json` holds."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.checkpoints import checkpoint_digest
from jax_vtm.commands import build
from jax_vtm.commands.defaults import Config
from jax_vtm.data import ClipProtocol, VideoSource
from jax_vtm.evaluation import (
    Candidate,
    Evaluation,
    agreement,
    correct_predictions,
    head_names,
    paired_difference,
    proportion,
)

SCHEMA_VERSION = 1


def summarise(
    config: Config,
    candidates: Sequence[Candidate],
    outcome: Evaluation,
    source: VideoSource,
    protocol: ClipProtocol,
) -> dict[str, Any]:
    """Puts the results together; the first candidate is the baseline of all comparisons."""
    baseline = candidates[0]
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "evaluate",
        "name": config.name,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dataset": {
            "name": config.data.name,
            "description": config.data.description,
            "n_videos": len(source),
            "n_ok": len(outcome.ids),
            "n_failed": len(outcome.failures),
            "labelled": bool(outcome.labels),
        },
        "protocol": {"description": protocol.describe(), **dataclasses.asdict(protocol)},
        "model": {
            "name": config.model.name,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(baseline.params)),
            "checkpoint": config.checkpoint,
            "checkpoint_sha256": checkpoint_digest(config.checkpoint),
            "heads": head_names(baseline.model),
        },
        "environment": build.environment(config),
        "runs": [_run(candidate, baseline, outcome, source.class_names) for candidate in candidates],
        "comparison": [_comparison(other, baseline, outcome) for other in candidates[1:] if outcome.labels],
        "wall_s": outcome.wall_s,
        "measured": {"device_wait_share": outcome.device_wait_share},
    }


def _run(
    candidate: Candidate, baseline: Candidate, outcome: Evaluation, class_names: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    prediction, reference = outcome.predictions[candidate.name], outcome.predictions[baseline.name]
    logits = mean_over_views(prediction.logits)
    # Every step was timed beside the baseline's, so these are ratios of neighbours in time.
    speedups = np.array(reference.step_s) / np.array(prediction.step_s)
    summary = {
        "name": candidate.name,
        "reduction": dataclasses.asdict(candidate.model.reduction),
        "tokens_per_layer": list(candidate.model.tokens_per_layer),
        "macs_per_clip": candidate.model.macs.total,
        "macs_by_part": dataclasses.asdict(candidate.model.macs),
        "mac_ratio": candidate.model.macs.total / baseline.model.macs.total,
        "metrics": {
            name: proportion(int(right.sum()), len(right))
            for name, right in correct_predictions(logits, outcome.labels).items()
        },
        "timing": {
            "compile_s": prediction.compile_s,
            "run_s": sum(prediction.step_s),
            "clips_per_s": outcome.batch_size * outcome.views / float(np.median(prediction.step_s)),
            "speedup": float(np.median(speedups)),
        },
    }
    if not outcome.labels:
        summary["predictions"] = _named_classes(outcome.ids, logits, class_names)
    return summary


def _comparison(candidate: Candidate, baseline: Candidate, outcome: Evaluation) -> dict[str, Any]:
    ours = mean_over_views(outcome.predictions[candidate.name].logits)
    theirs = mean_over_views(outcome.predictions[baseline.name].logits)
    right, baseline_right = (correct_predictions(logits, outcome.labels) for logits in (ours, theirs))
    metric = "action/top1" if "action/top1" in right else next(iter(right))
    return {
        "run": candidate.name,
        "baseline": baseline.name,
        "metric": metric,
        **paired_difference(right[metric], baseline_right[metric]),
        "agreement": agreement(ours, theirs),
    }


def mean_over_views(logits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Averages logits [n, V, K] over views, as Scenic's evaluation does."""
    return {head: values.mean(axis=1) for head, values in logits.items()}


def _named_classes(
    ids: Sequence[str], logits: Mapping[str, np.ndarray], class_names: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Says each video's most likely class per head, by name where names are known."""
    best = {head: values.argmax(axis=-1).tolist() for head, values in logits.items()}
    named = {
        head: [class_names[head][k] for k in classes] if head in class_names else classes
        for head, classes in best.items()
    }
    return [{"id": video, **{head: named[head][i] for head in named}} for i, video in enumerate(ids)]
