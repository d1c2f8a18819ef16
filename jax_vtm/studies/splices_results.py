"""Summarises the study of splices: `results.json` and `videos.csv`."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, Failure, VideoSource
from jax_vtm.evaluation import Variant, combine_heads, predicted_classes, proportion
from jax_vtm.evaluation.results import SCHEMA_VERSION, what_was_run
from jax_vtm.files import csv_text
from jax_vtm.studies.mixing import Mixing
from jax_vtm.studies.ratios import ratio, ratio_difference

ACTION = "action"  # all heads together
UNSPLICED = "unspliced"  # the original clips; other kinds of clips are named after their donors

Classes = Mapping[str, Int[np.ndarray, " n"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spliced:
    """The outputs of one variant for one kind of clips."""

    logits: Mapping[str, Float32[np.ndarray, "n V _"]]
    mixing: Mixing  # [n, layers], summed over views; the parts are the host's and the donor's tubelets


@dataclasses.dataclass(frozen=True)
class SpliceEvaluation:
    """The `n` videos that could be read with their donors, in the source's order; labels are by head."""

    ids: Shaped[np.ndarray, " n"]
    indices: Int[np.ndarray, " n"]
    labels: dict[str, Int[np.ndarray, " n"]]
    donor_ids: dict[str, Shaped[np.ndarray, " n"]]
    donor_labels: dict[str, dict[str, Int[np.ndarray, " n"]]]
    spliced: dict[tuple[str, str], Spliced]  # by kind of clips and variant
    failures: list[Failure]


def summarise(
    config: Config,
    variants: Sequence[Variant],
    found: SpliceEvaluation,
    source: VideoSource,
    protocol: ClipProtocol,
    length: int,
) -> dict[str, Any]:
    """Returns the content of `results.json`; times are under "measured"."""
    model = variants[0].model
    predicted = {
        key: {
            head: predicted_classes(scores) for head, scores in combine_heads(one.logits, protocol.view_average).items()
        }
        for key, one in found.spliced.items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "study",
        "name": config.name,
        **what_was_run(config, variants[0], found, source, protocol),
        "study": {
            "what": "splices",
            "tubelets": length,
            "of": model.grid[0],
            "frames_per_tubelet": model.patch_size[0],
            "donors": list(found.donor_ids),
            "classes": config.study.head or "all heads",
            "seed": config.seed,
        },
        "runs": [
            {
                "name": one.name,
                "reduction": dataclasses.asdict(one.model.reduction),
                "tokens_per_layer": list(one.model.tokens_per_layer),
                "macs_per_clip": one.model.macs.total,
            }
            for one in variants
        ],
        "predictions": [_predictions(kind, run, predicted, found) for kind, run in predicted],
        "layers": [entry for kind, run in predicted if run == variants[-1].name for entry in _layers(kind, run, found)],
        "measured": {"created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
    }


def _predictions(
    kind: str, run: str, predicted: Mapping[tuple[str, str], Classes], found: SpliceEvaluation
) -> dict[str, Any]:
    """Counts predictions equal to those of the unspliced clips, to the host's label and to the donor's label."""
    ours, unspliced = predicted[kind, run], predicted[UNSPLICED, run]
    entry: dict[str, Any] = {"clips": kind, "run": run}
    if kind != UNSPLICED:
        same = _is_equal(ours, unspliced, list(ours))
        entry["as_unspliced"] = proportion(int(same.sum()), len(same))
    heads = {head: [head] for head in found.labels}
    if len(heads) > 1:
        heads[ACTION] = list(found.labels)
    entry["heads"] = {}
    for name, parts in heads.items():
        host = _is_equal(ours, found.labels, parts)
        entry["heads"][name] = {"accuracy": proportion(int(host.sum()), len(host))}
        if kind == UNSPLICED:
            continue
        labels = found.donor_labels[kind]
        # If both have the same label, a prediction follows neither.
        differ = ~_is_equal(labels, found.labels, parts)
        donor = _is_equal(ours, labels, parts)
        if not (count := int(differ.sum())):
            continue
        entry["heads"][name] |= {
            "follows_host": proportion(int((host & differ).sum()), count),
            "follows_donor": proportion(int((donor & differ).sum()), count),
            "follows_neither": proportion(int((~host & ~donor & differ).sum()), count),
        }
    return entry


def _is_equal(ours: Classes, theirs: Classes, heads: Sequence[str]) -> Bool[np.ndarray, " n"]:
    return np.logical_and.reduce([ours[head] == theirs[head] for head in heads])


def _layers(kind: str, run: str, found: SpliceEvaluation) -> list[dict[str, Any]]:
    """Returns the share of mixed tokens and groups after every layer, by chance, and over unspliced clips."""
    counts, unspliced = found.spliced[kind, run].mixing, found.spliced[UNSPLICED, run].mixing
    entries = []
    for layer in range(counts.merged_tokens.shape[1]):
        ours = {name: np.asarray(values)[:, layer] for name, values in vars(counts).items()}
        theirs = {name: np.asarray(values)[:, layer] for name, values in vars(unspliced).items()}
        entry: dict[str, Any] = {"clips": kind, "run": run, "layer": layer}
        entry |= {name: float(values.sum()) for name, values in ours.items()}
        for unit in ("tokens", "groups"):
            merged = ours[f"merged_{unit}"]
            entry[f"share_of_{unit}"] = ratio(ours[f"mixed_{unit}"], merged)
            entry[f"chance_of_{unit}"] = ratio(ours[f"chance_{unit}"], merged)["value"]
        if kind != UNSPLICED:
            entry["over_unspliced"] = ratio_difference(
                (ours["mixed_tokens"], ours["merged_tokens"]), (theirs["mixed_tokens"], theirs["merged_tokens"])
            )
        entries.append(entry)
    return entries


def video_table(found: SpliceEvaluation, starts: Int[np.ndarray, " n"], names: Mapping[str, Sequence[str]]) -> str:
    """Formats `videos.csv`: the splice, donors and classes of each video."""
    rows = []
    for place, video in enumerate(found.ids):
        row: dict[str, Any] = {"video": video, "first tubelet": int(starts[found.indices[place]])}
        row |= {head: class_name(head, labels[place], names) for head, labels in found.labels.items()}
        for kind, donors in found.donor_ids.items():
            row[kind] = donors[place]
            for head, labels in found.donor_labels[kind].items():
                row[f"{kind} {head}"] = class_name(head, labels[place], names)
        rows.append(row)
    return csv_text(rows)


def class_name(head: str, label: int, names: Mapping[str, Sequence[str]]) -> str | int:
    """Returns the name of a class, or its index without names."""
    return names[head][label] if head in names else int(label)
