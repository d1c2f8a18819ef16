"""From an evaluation of splices to what `results.json` and the tables hold."""

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

# All heads together.
ACTION = "action"

# The clips as they are; the others are called by the kind of their donors.
UNSPLICED = "unspliced"

Classes = Mapping[str, Int[np.ndarray, " n"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spliced:
    """What one variant makes of one kind of clips."""

    logits: Mapping[str, Float32[np.ndarray, "n V _"]]
    # [n, layers], of all views together; the parts are host and donor, in unspliced clips the same tubelets.
    mixing: Mixing


@dataclasses.dataclass(frozen=True)
class SpliceEvaluation:
    """The `n` videos that could be read, in the source's order, and their donors by kind; labels are per head."""

    ids: Shaped[np.ndarray, " n"]
    indices: Int[np.ndarray, " n"]
    labels: dict[str, Int[np.ndarray, " n"]]
    donor_ids: dict[str, Shaped[np.ndarray, " n"]]
    donor_labels: dict[str, dict[str, Int[np.ndarray, " n"]]]
    # By kind of clips, `UNSPLICED` being one, and variant.
    spliced: dict[tuple[str, str], Spliced]
    # Also those whose donor could not be read.
    failures: list[Failure]


def summarise(
    config: Config,
    variants: Sequence[Variant],
    found: SpliceEvaluation,
    source: VideoSource,
    protocol: ClipProtocol,
    length: int,
) -> dict[str, Any]:
    """What `results.json` holds; whatever depends on when and how fast the run went is under "measured" alone."""
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
    """Says how often a run's predictions of one kind of clips are as before, the host's label, and the donor's."""
    ours, before = predicted[kind, run], predicted[UNSPLICED, run]
    entry: dict[str, Any] = {"clips": kind, "run": run}
    if kind != UNSPLICED:
        kept = _right(ours, before, list(ours))
        entry["as_unspliced"] = proportion(int(kept.sum()), len(kept))
    heads = {head: [head] for head in found.labels}
    if len(heads) > 1:
        heads[ACTION] = list(found.labels)
    entry["heads"] = {}
    for name, together in heads.items():
        host = _right(ours, found.labels, together)
        entry["heads"][name] = {"accuracy": proportion(int(host.sum()), len(host))}
        if kind == UNSPLICED:
            continue
        labels = found.donor_labels[kind]
        # Where both have the same label, nobody can tell whom a prediction follows.
        differ = ~_right(labels, found.labels, together)
        donor = _right(ours, labels, together)
        if not (count := int(differ.sum())):
            continue
        entry["heads"][name] |= {
            "follows_host": proportion(int((host & differ).sum()), count),
            "follows_donor": proportion(int((donor & differ).sum()), count),
            "follows_neither": proportion(int((~host & ~donor & differ).sum()), count),
        }
    return entry


def _right(ours: Classes, theirs: Classes, heads: Sequence[str]) -> Bool[np.ndarray, " n"]:
    return np.logical_and.reduce([ours[head] == theirs[head] for head in heads])


def _layers(kind: str, run: str, found: SpliceEvaluation) -> list[dict[str, Any]]:
    """Says after every layer what share of merged tokens and groups is mixed, by chance, and unspliced."""
    counts, before = found.spliced[kind, run].mixing, found.spliced[UNSPLICED, run].mixing
    entries = []
    for layer in range(counts.merged_tokens.shape[1]):
        ours = {name: np.asarray(values)[:, layer] for name, values in vars(counts).items()}
        theirs = {name: np.asarray(values)[:, layer] for name, values in vars(before).items()}
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
    """Writes `videos.csv`: one row per video with its splice, its donors, and the classes of all."""
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
    """A class in words where the data set has them, else its index."""
    return names[head][label] if head in names else int(label)
