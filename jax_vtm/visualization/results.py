"""Summarises traced clips: `visualize.json`."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jax_vtm.checkpoints import checkpoint_digest
from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoItem
from jax_vtm.evaluation import Variant, as_probabilities, build, head_names
from jax_vtm.evaluation.results import SCHEMA_VERSION
from jax_vtm.models import FactorisedEncoderViViT, PatchGroups, merges_within_steps
from jax_vtm.visualization.group_statistics import GroupStatistics, group_statistics

CLASSES_LISTED = 5  # of either model

Logits = Mapping[str, Float[np.ndarray, " _"]]


def summarise(
    config: Config,
    unmerged: Variant,
    merged: Variant,
    protocol: ClipProtocol,
    layers_shown: Sequence[int],
    clips: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Returns the content of `visualize.json`; the date is under "measured"."""
    model, random = merged.model, not config.checkpoint
    warning = (
        "The model is untrained: its weights are random. The groups show merging of random features, and predictions "
        "are left out."
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "visualize",
        "name": config.name,
        "warnings": [warning] * random,
        "protocol": {"description": protocol.describe(), **build.protocol_values(protocol)},
        "model": {
            "name": config.model.name,
            "weights": "random" if random else build.checkpoint(config),
            "checkpoint_sha256": None if random else checkpoint_digest(build.checkpoint(config)),
            "heads": head_names(model),
        },
        "environment": build.environment(config, model),
        "run": {
            "name": merged.name,
            "reduction": dataclasses.asdict(model.reduction),
            "tokens_per_layer": list(model.tokens_per_layer),
            "tokens_unmerged": unmerged.model.tokens_per_layer[0],
            "tokens_per_time_step": isinstance(model, FactorisedEncoderViViT),
            "within_time_steps": merges_within_steps(model),
            "macs_per_clip": model.macs.total,
            "mac_ratio": model.macs.total / unmerged.model.macs.total,
        },
        "grid": list(model.grid),
        "patch": list(model.patch_size),
        "layers_shown": list(layers_shown),
        "clips": list(clips),
        "measured": {"created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
    }


def clip_summary(
    video: VideoItem, folder: str, protocol: ClipProtocol, view: int, groups: PatchGroups, predictions: dict[str, Any]
) -> dict[str, Any]:
    """Returns a clip's entry: its view (from 1), the groups after every layer, the predictions."""
    crop, clip = divmod(view - 1, protocol.num_clips)
    crops = f", crop {crop + 1} of {protocol.num_crops}" if protocol.num_crops > 1 else ""
    clips = f"clip {clip + 1} of {protocol.num_clips}" if protocol.num_clips > 1 else "the clip"
    text = f"This is view {view} of the {protocol.num_views} that the protocol takes of a video ({clips}{crops})."
    return {
        "id": video.id,
        "folder": folder,
        "view": view,
        "num_views": protocol.num_views,
        "view_text": text if protocol.num_views > 1 else "",
        "labels": dict(video.labels),
        "predictions": predictions,
        "layers": [_layer_summary(group_statistics(membership)) for membership in groups.membership],
    }


def _layer_summary(groups: GroupStatistics) -> dict[str, Any]:
    """Returns the statistics of one layer for JSON; None in place of NaN."""
    sizes = groups.sizes
    values, counts = np.unique(sizes, return_counts=True)
    several = groups.spans > 1
    return {
        "groups": len(sizes),
        "patches": int(sizes.sum()) + groups.discarded,
        "discarded": groups.discarded,
        "group_size": {
            "mean": float(sizes.mean()) if len(sizes) else None,
            "median": float(np.median(sizes)) if len(sizes) else None,
            "largest": int(sizes.max(initial=0)),
        },
        "group_sizes": {str(size): int(count) for size, count in zip(values, counts, strict=True)},
        "groups_in_several_steps": groups.in_several_steps,
        "patches_in_several_steps": int(sizes[several].sum()),
        "longest_reach": int(groups.spans.max(initial=0)),
        "per_time_step": {
            "tokens": groups.tokens_per_step.tolist(),
            "groups": groups.groups_per_step.tolist(),
            "mean_group_size": [None if np.isnan(size) else float(size) for size in groups.mean_size_per_step],
            "discarded": groups.discarded_per_step.tolist(),
        },
    }


def compared_predictions(
    unmerged: Logits, merged: Logits, class_names: Mapping[str, Sequence[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Returns the most likely classes of every head in both models, with probabilities and ranks."""
    compared = {}
    for head, logits in unmerged.items():
        names = class_names.get(head)
        probabilities = [as_probabilities(values[None], "logits")[0] for values in (logits, merged[head])]
        orders = [np.argsort(-values, kind="stable") for values in probabilities]
        ranks = [np.argsort(order) + 1 for order in orders]
        listed = dict.fromkeys(int(index) for order in orders for index in order[:CLASSES_LISTED])
        compared[head] = [
            {
                "class": index,
                "name": names[index] if names else f"class {index}",
                "unmerged": float(probabilities[0][index]),
                "merged": float(probabilities[1][index]),
                "unmerged_rank": int(ranks[0][index]),
                "merged_rank": int(ranks[1][index]),
            }
            for index in listed
        ]
    return compared
