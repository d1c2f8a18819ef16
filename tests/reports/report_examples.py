"""A results dict as the evaluate command writes it, and variants of it."""

import copy
from typing import Any

import numpy as np

from jax_vtm.evaluation import class_counts, class_means, confusion_matrix

VIDEOS = 2880
VERBS = ("right", "left", "down", "up", "turn", "turn back", "grow", "shrink")
NOUNS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def metric(correct: int, low: float, high: float) -> dict[str, float]:
    return {"correct": correct, "count": VIDEOS, "value": correct / VIDEOS, "low": low, "high": high}


def run(name: str, reduction: dict[str, Any], tokens: list[int], macs: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "reduction": reduction,
        "tokens_per_layer": tokens,
        "macs_per_clip": macs,
        "mac_ratio": macs / 157_000_000,
        "metrics": {},
        "classes": {},
        "class_means": {},
        **more,
    }


def timing(rate: float) -> dict[str, float]:
    return {"compile_s": 3.1, "run_s": VIDEOS / rate, "clips_per_s": rate, "speedup": rate / 140.0}


def predictions(correct: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up classes and labels, so many of which agree; mistakes are more frequent in some classes."""
    labels = np.arange(VIDEOS) % num_classes
    wrong = np.random.default_rng(correct).choice(
        VIDEOS, VIDEOS - correct, replace=False, p=(labels + 1) / np.sum(labels + 1)
    )
    predicted = labels.copy()
    predicted[wrong] = (labels[wrong] + 1 + wrong % 2) % num_classes
    return predicted, labels


def with_classes(entry: dict[str, Any], names: dict[str, tuple[str, ...]]) -> None:
    """Adds the classes of every named head, as many right as the run's metrics say."""
    entry["classes"] = {
        head: class_counts(*predictions(entry["metrics"][f"{head}/top1"]["correct"], len(known)), len(known), known)
        for head, known in names.items()
    }
    entry["class_means"] = {head: class_means(rows) for head, rows in entry["classes"].items()}


def confusions(results: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The matrices behind the classes that `with_classes` adds."""
    return {
        entry["name"]: {
            head: confusion_matrix(*predictions(entry["metrics"][f"{head}/top1"]["correct"], len(rows)), len(rows))
            for head, rows in entry.get("classes", {}).items()
        }
        for entry in results["runs"]
    }


def two_heads() -> dict[str, Any]:
    """Unmerged and merged, two heads, labelled."""
    unmerged = run("unmerged", {"mode": "none", "r": 0}, [513] * 5, 157_000_000)
    unmerged["metrics"] = {
        "verb/top1": metric(2870, 0.9937, 0.9981),
        "noun/top1": metric(2866, 0.9919, 0.9971),
        "action/top1": metric(2862, 0.9901, 0.9960),
    }
    merged = run("merge r=110", {"mode": "merge", "r": 110}, [513, 403, 293, 183, 73], 76_930_000)
    merged["metrics"] = {
        "verb/top1": metric(2861, 0.9897, 0.9958),
        "noun/top1": metric(2859, 0.9889, 0.9952),
        "action/top1": metric(2850, 0.9855, 0.9930),
    }
    for entry, noun_top5, joint in ((unmerged, 2879, 2876), (merged, 2878, 2871)):
        entry["metrics"] |= {
            "verb/top5": metric(2880, 0.9987, 1.0),
            "noun/top5": metric(noun_top5, 0.9980, 0.9999),
            "action/top5_each": metric(noun_top5, 0.9980, 0.9999),
            "action/top5_joint": metric(joint, 0.9950, 0.9990),
        }
        with_classes(entry, {"verb": VERBS, "noun": NOUNS})
    return {
        "schema_version": 2,
        "command": "evaluate",
        "name": "moving_digits",
        "dataset": {
            "name": "moving_digits/test",
            "description": "digits that move in one of eight ways",
            "n_videos": VIDEOS,
            "n_ok": VIDEOS,
            "n_failed": 0,
            "labelled": True,
        },
        "protocol": {
            "description": "16 frames, stride 1, 1 clip x 1 crop of 64 x 64; logits averaged over views",
            "num_frames": 16,
            "stride": 1,
            "num_clips": 1,
            "num_crops": 1,
            "crop": 64,
            "view_average": "logits",
        },
        "model": {
            "name": "vivit (tiny)",
            "parameters": 300_000,
            "checkpoint": "moving_digits",
            "checkpoint_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "heads": {"noun": 10, "verb": 8},
        },
        "environment": {
            "python": "3.12.4",
            "jax": "0.10.0",
            "flax": "0.12.0",
            "jax_vtm": "0.1.0",
            "platform": "cpu",
            "device_kind": "cpu",
            "num_devices": 1,
            "backend": "pmap",
            "dtype": "float32",
        },
        "failures": [],
        "runs": [unmerged, merged],
        "comparison": [
            {
                "run": "merge r=110",
                "baseline": "unmerged",
                "metric": "action/top1",
                "difference": -0.0042,
                "low": -0.008,
                "high": 0.0002,
                "agreement": 0.991,
            }
        ],
        "measured": {
            "created": "2026-11-24T03:00:00Z",
            "wall_s": 45.2,
            "runs": {"unmerged": timing(140.0), "merge r=110": timing(268.8)},
        },
    }


def sweep() -> dict[str, Any]:
    """Four reductions and the unmerged run, a 12-layer single-head model, no recorded comparisons."""
    results = two_heads()
    results["comparison"] = []
    results["runs"], results["measured"]["runs"] = [], {}
    grid = [
        (0, 0.921, 140.0),
        (98, 0.919, 171.0),
        (150, 0.913, 203.0),
        (196, 0.897, 236.0),
        (392, 0.771, 402.0),
    ]
    for r, value, rate in grid:
        tokens = [1569]
        for _ in range(12):
            tokens.append(tokens[-1] - min(r, (tokens[-1] - 1) // 2))
        entry = run(
            f"merge r={r}" if r else "unmerged",
            {"mode": "merge" if r else "none", "r": r},
            tokens,
            157_000_000 * sum(tokens[:-1]) // (12 * 1569),
        )
        results["measured"]["runs"][entry["name"]] = timing(rate)
        entry["metrics"] = {
            "top1": metric(round(value * VIDEOS), value - 0.011, value + 0.010),
            "top5": metric(round((value + 0.05) * VIDEOS), value + 0.04, value + 0.058),
        }
        results["runs"].append(entry)
    return results


def unlabelled() -> dict[str, Any]:
    """Videos without labels: predictions in place of metrics."""
    results = two_heads()
    results["dataset"] |= {"labelled": False, "n_videos": 2, "n_ok": 2}
    for entry in results["runs"]:
        entry |= {"metrics": {}, "classes": {}, "class_means": {}}
        entry["predictions"] = [
            {"id": "a.mp4", "verb": "turn", "noun": "seven"},
            {"id": "b.mp4", "verb": "rise", "noun": "two"},
        ]
    results["comparison"] = [
        {"run": "merge r=110", "baseline": "unmerged", "metric": None, "difference": None, "agreement": 1.0}
    ]
    return results


def single() -> dict[str, Any]:
    """Only the unmerged run."""
    results = two_heads()
    results["runs"] = results["runs"][:1]
    results["comparison"] = []
    return results


def with_speed(factor: float) -> dict[str, Any]:
    """Two runs, the second of which is `factor` times as fast as the first."""
    results = copy.deepcopy(two_heads())
    results["measured"]["runs"]["merge r=110"] |= {"speedup": factor, "clips_per_s": 140.0 * factor}
    return results
