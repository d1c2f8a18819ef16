"""What a calibration leaves: `results.json`, and a file for each schedule."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax_vtm
from jax_vtm.calibration.cost import Schedule, Timed
from jax_vtm.calibration.edges import QUANTILES
from jax_vtm.calibration.measure import Clips
from jax_vtm.calibration.schedules import Calibration, Chosen
from jax_vtm.config import Config
from jax_vtm.config.schedule_file import FORMAT
from jax_vtm.data import VideoSource, source_digest
from jax_vtm.evaluation import Variant
from jax_vtm.evaluation.results import summarise, without_details
from jax_vtm.evaluation.run_names import effective, run_name

SEARCHED = "searched"


def held_out_results(
    config: Config,
    calibration: Calibration,
    chosen: Sequence[Chosen],
    held_out: Clips,
    unmerged: Variant,
    edges: Sequence[Sequence[float]],
    timed: Timed,
) -> dict[str, Any]:
    """Evaluates the schedules on the held-out videos, next to constant and linear ones of the same cost.

    Args:
        config: The command's.
        calibration: With what it measured.
        chosen: A schedule for every budget.
        held_out: The other videos.
        unmerged: The unmerged model.
        edges: Quantiles of the edges' scores by layer.
        timed: What layers and models took, if they were timed.
    """
    schedules, reductions = [], {}
    for one in chosen:
        for kind, schedule in {SEARCHED: one.schedule, **one.others}.items():
            reduction = effective(calibration.joint.reduced(schedule))
            reductions[run_name(reduction)] = reduction
            schedules.append(
                {
                    "budget": one.budget,
                    "kind": kind,
                    "run": run_name(reduction),
                    "tokens": list(schedule.tokens),
                    "cost": calibration.cost.of(schedule),
                    "share": calibration.share(schedule),
                    "predicted": one.first.loss
                    if schedule == Schedule(one.first.tokens, calibration.stepwise)
                    else None,
                    "searched_on": calibration.measured[schedule]._asdict(),
                }
            )
    variants, evaluation = held_out.evaluate([one for one in reductions.values() if one.mode != "none"], "held out")
    results = summarise(config, variants, evaluation, held_out.source, held_out.protocol)
    results = without_details(results, evaluation, held_out.protocol)
    kept = [
        {"how": how, "layer": layer, "tokens": tokens, **loss._asdict()}
        for (how, layer, tokens), loss in sorted(calibration.sensitivity.items())
    ]
    return results | {
        "command": "calibrate",
        "calibration": {
            "clips": len(calibration.clips.source),
            "by": calibration.by,
            "unit": calibration.cost.unit,
            "unmerged_cost": calibration.cost.unmerged,
            "schedules": schedules,
            "sensitivity": kept,
            "runs": len(calibration.clips.losses),
            "edge_quantiles": list(QUANTILES),
            "edge_scores": [list(one) for one in edges],
            "layer_ms": list(timed.layers),
            "model_ms": list(timed.models),
        },
    }


def schedule_files(
    config: Config, calibration: Calibration, chosen: Sequence[Chosen], results: Mapping[str, Any], source: VideoSource
) -> dict[str, str]:
    """Returns the files of the schedules, by name, as `--config.reduction=FILE` takes them."""
    files = {}
    by_name = {run["name"]: run for run in results["runs"]}
    unmerged = results["runs"][0]
    compared = {one["run"]: one for one in results["comparison"]}
    for one in chosen:
        reduction = calibration.joint.reduced(one.schedule)
        name, kept = run_name(effective(reduction)), reduction.input
        assert not isinstance(reduction.r, int)
        content = {
            "format": FORMAT,
            "jax_vtm": jax_vtm.__version__,
            "reduction": {
                **config.reduction.to_dict(),
                "r": list(reduction.r),
                "repeat_layer": list(reduction.repeat_layer) if reduction.repeat_layer else None,
                "inflection": 0.0,
                "input": {"keep": kept.keep, "by": kept.by} if kept else {"keep": 0, "by": "run_length"},
            },
            "made_for": {
                "model": config.model.name,
                "layers": calibration.joint.layers,
                "tokens": calibration.joint.tokens,
                "checkpoint": config.checkpoint,
                "checkpoint_sha256": results["model"]["checkpoint_sha256"],
            },
            "searched_on": {
                "dataset": config.data.name,
                "videos": len(source),
                "videos_sha256": source_digest(source),
                "protocol": results["protocol"]["description"],
                "seed": config.seed,
            },
            "objective": {
                **{key: config.calibrate[key] for key in ("by", "cost", "tolerance", "input", "steps", "rounds")},
                "budget": one.budget,
            },
            "tokens": list(one.schedule.tokens),
            "cost_share": calibration.share(one.schedule),
            "predicted": {"tokens": list(one.first.tokens), "loss": one.first.loss},
            "on_the_videos_searched": calibration.measured[one.schedule]._asdict(),
            "held_out": {
                "videos": results["dataset"]["n_ok"],
                "metrics": by_name[name]["metrics"] if name in by_name else {},
                "unmerged_metrics": unmerged["metrics"],
                "change": compared.get(name),
            },
        }
        file = "schedule.json" if len(chosen) == 1 else f"schedule_{one.budget:g}.json"
        files[file] = f"{json.dumps(content, indent=2)}\n"
    return files
