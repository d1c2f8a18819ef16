"""From an evaluation to what `results.json` holds."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jax_vtm.checkpoints import checkpoint_digest
from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource
from jax_vtm.evaluation import (
    Evaluation,
    Variant,
    agreement,
    as_probabilities,
    build,
    class_counts,
    class_means,
    combine_heads,
    confusion_matrix,
    correct_predictions,
    head_names,
    main_metric,
    paired_difference,
    predicted_classes,
    proportion,
)
from jax_vtm.evaluation.run_names import remarks

# Of every file of results, whatever command wrote it; docs/moved.md says what changed.
SCHEMA_VERSION = 3

# failures.csv names all of them.
FAILURES_LISTED = 50

Scores = Mapping[str, np.ndarray]


def summarise(
    config: Config,
    variants: Sequence[Variant],
    evaluation: Evaluation,
    source: VideoSource,
    protocol: ClipProtocol,
) -> dict[str, Any]:
    """Puts the results together; the first variant is the baseline of all comparisons.

    Whatever depends on when and how fast the run went is under "measured" and nowhere else: apart from it, the same
    videos, checkpoint, config and environment give the same results, key by key.
    """
    baseline = variants[0]
    names = source.class_names
    if not evaluation.labels:
        # Without labels the videos say nothing of the classes, but the model's are known.
        names = {**build.class_names(config, baseline.model), **names}
    scores = {c.name: combine_heads(evaluation.predictions[c.name].logits, protocol.view_average) for c in variants}
    right = {c.name: _right(scores[c.name], evaluation, protocol) for c in variants}
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "evaluate",
        "name": config.name,
        **what_was_run(config, baseline, evaluation, source, protocol),
        "runs": [_run(c, baseline, scores[c.name], right[c.name], evaluation, names) for c in variants],
        "comparison": [_comparison(c, baseline, scores, right) for c in variants[1:] if evaluation.labels],
        "measured": _measured(variants, evaluation),
    }


def without_details(results: dict[str, Any], evaluation: Evaluation, protocol: ClipProtocol) -> dict[str, Any]:
    """Leaves single classes and videos out, and says how many predictions agree where there are no labels, too."""
    for run in results["runs"]:
        for key in ("classes", "predictions"):
            run.pop(key, None)
    if not evaluation.labels:
        scores = {
            name: combine_heads(one.logits, protocol.view_average) for name, one in evaluation.predictions.items()
        }
        baseline, *others = scores
        results["comparison"] = [
            {
                "run": name,
                "baseline": baseline,
                "metric": None,
                "difference": None,
                "agreement": agreement(scores[name], scores[baseline]),
            }
            for name in others
        ]
    return results


def what_was_run(
    config: Config,
    baseline: Variant,
    evaluation: Any,
    source: VideoSource,
    protocol: ClipProtocol,
) -> dict[str, Any]:
    """Says of any run over videos which these were, what could not be read, and how and where which model saw them."""
    return {
        "dataset": {
            "name": config.data.name,
            "description": config.data.description,
            "n_videos": len(source),
            "n_ok": len(evaluation.ids),
            "n_failed": len(evaluation.failures),
            "labelled": bool(evaluation.labels),
        },
        "failures": [dataclasses.asdict(failure) for failure in evaluation.failures[:FAILURES_LISTED]],
        "protocol": {"description": protocol.describe(), **build.protocol_values(protocol)},
        "model": {
            "name": config.model.name,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(baseline.params)),
            "checkpoint": build.checkpoint(config),
            "checkpoint_sha256": checkpoint_digest(build.checkpoint(config)),
            "heads": head_names(baseline.model),
        },
        "environment": build.environment(config, baseline.model),
    }


def confusion_matrices(evaluation: Evaluation, view_average: str) -> dict[str, dict[str, Int[np.ndarray, "K K"]]]:
    """Returns {run: {head: matrix}}, rows the true class, for the heads that have labels."""
    matrices = {}
    for name, prediction in evaluation.predictions.items():
        scores = combine_heads(prediction.logits, view_average)
        matrices[name] = {
            head: confusion_matrix(predicted_classes(values), evaluation.labels[head], values.shape[-1])
            for head, values in scores.items()
            if head in evaluation.labels
        }
    return matrices


def _right(scores: Scores, evaluation: Evaluation, protocol: ClipProtocol) -> dict[str, np.ndarray]:
    probabilities = {head: as_probabilities(values, protocol.view_average) for head, values in scores.items()}
    return correct_predictions(scores, probabilities, evaluation.labels)


def _run(
    variant: Variant,
    baseline: Variant,
    scores: Scores,
    right: Mapping[str, np.ndarray],
    evaluation: Evaluation,
    class_names: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    predicted = {head: predicted_classes(values) for head, values in scores.items()}
    classes = {
        head: class_counts(predicted[head], evaluation.labels[head], values.shape[-1], class_names.get(head, ()))
        for head, values in scores.items()
        if head in evaluation.labels
    }
    summary = {
        "name": variant.name,
        "reduction": dataclasses.asdict(variant.model.reduction),
        "remarks": remarks(variant.model.reduction, len(variant.model.tokens_per_layer) - 1),
        "tokens_per_layer": list(variant.model.tokens_per_layer),
        "macs_per_clip": variant.model.macs.total,
        "macs_by_part": dataclasses.asdict(variant.model.macs),
        "mac_ratio": variant.model.macs.total / baseline.model.macs.total,
        "metrics": {name: proportion(int(values.sum()), len(values)) for name, values in right.items()},
        "n_without_prediction": int(np.any([values < 0 for values in predicted.values()], axis=0).sum()),
        "class_means": {head: class_means(rows) for head, rows in classes.items()},
        "classes": classes,
    }
    if not evaluation.labels:
        summary["predictions"] = _named_classes(evaluation.ids, predicted, class_names)
    return summary


def _comparison(
    variant: Variant,
    baseline: Variant,
    scores: Mapping[str, Scores],
    right: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    ours, theirs = right[variant.name], right[baseline.name]
    metric = main_metric(ours)
    return {
        "run": variant.name,
        "baseline": baseline.name,
        "metric": metric,
        **paired_difference(ours[metric], theirs[metric]),
        "agreement": agreement(scores[variant.name], scores[baseline.name]),
    }


def _measured(variants: Sequence[Variant], evaluation: Evaluation) -> dict[str, Any]:
    reference = np.array(evaluation.predictions[variants[0].name].step_s)
    runs = {}
    for variant in variants:
        prediction = evaluation.predictions[variant.name]
        seconds = np.array(prediction.step_s)
        runs[variant.name] = {
            "compile_s": prediction.compile_s,
            "run_s": float(seconds.sum()),
            # Processes work side by side, each at this pace.
            "clips_per_s": jax.process_count() * evaluation.batch_size * evaluation.views / float(np.median(seconds)),
            # Every step was timed next to the baseline's, so these are ratios of neighbours in time.
            "speedup": float(np.median(reference / seconds)),
        }
    created = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": created,
        "wall_s": evaluation.wall_s,
        "device_wait_share": evaluation.device_wait_share,
        # Which backends "auto" took, and by how much they were faster; empty where nothing was measured.
        "auto": variants[0].model.compute.measured,
        "runs": runs,
    }


def _named_classes(
    ids: Sequence[str], predicted: Mapping[str, np.ndarray], class_names: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Says each video's most likely class per head, by name where names are known; None where there is none."""

    def named(head: str, index: int) -> int | str | None:
        if index < 0:
            return None
        return class_names[head][index] if head in class_names else index

    return [
        {"id": video, **{head: named(head, int(values[i])) for head, values in predicted.items()}}
        for i, video in enumerate(ids)
    ]
