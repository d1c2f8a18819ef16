"""Every run of the paper's experiments: the 534 commands that its code ships, four models on three data sets.

    python main.py sweep --config=configs/paper_grid.py --dry_run

lists them with tokens per layer and MACs, without data or checkpoints. Commands that differ only in what is written
down (accuracy, time, predictions) are the same run here: every run is timed and keeps its predictions.

    python main.py sweep --config=configs/paper_grid.py --config.sweep.experiment=vivit_k400 --config.checkpoint=FILE
                         --config.data.path=FOLDER

(one line) runs those of one model on one data set, whose checkpoint and videos its own config describes (here
configs/vivit_b_16x2_k400.py), under the paper's protocol. No published accuracy is quoted here.

Checkpoint: one per experiment; see its config. Those with another number of frames need weights that fit it:
VideoMAE's fit any, ViViT's do not.
"""

import pathlib

from jax_vtm.config import Config, default_config

MODELS = {
    "vivit": "vivit_b_16x2",
    "timesformer": "timesformer_b",
    "motionformer": "motionformer_b",
    "videomae": "videomae_b",
}
DATASETS = ("k400", "ssv2", "epic")

# Tokens to merge per layer: of all of them, or of one frame's. "Roughly optimal" is the paper's own word.
LARGEST = {"vivit": 1568, "timesformer": 98, "motionformer": 98, "videomae": 784}
ROUGHLY_OPTIMAL = {"vivit": 300, "timesformer": 18, "motionformer": 18, "videomae": 150}
SHARES = {"Max": 1, "25%": 2, "12.5%": 4, "6.25%": 8}

SCHEDULES = {"": 0, "Decreasing ": -1, "Increasing ": 1}
MODES = {"random dropout": "random_drop", "dropout": "drop", "random merging": "random_merge"}
HYBRID_THRESHOLDS = {"vivit": 0.4, "videomae": 0.8}

# Models that merge over space and time at once; the studies of detail are of these.
JOINT = ("vivit", "videomae")
# Curves have sixteen points up to the largest r; those of the other frame counts are each other's.
CURVE_POINTS = 16
CURVE_SCHEDULES = {"": 0, " (decreasing schedule)": -1, " (increasing schedule)": 1}
SWAPPED_FRAMES = {"vivit": 16, "videomae": 32}
# Every how many frames, which stays as it is.
STRIDES = {"vivit": 2, "videomae": 1}
PREDICTIONS_KEPT = {"vivit": (300, 400), "videomae": (150, 200)}

UNREADABLE = "not run as shipped: the reference's config file does not load"
DUPLICATED = "not run as shipped: the reference sets a list of r and a schedule, which it refuses"
OTHER_WEIGHTS = "the reference leaves position embeddings of another length at zero"

Runs = list[dict]


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("paper_grid")
    experiments = {}
    for dataset in DATASETS:
        for model in MODELS:
            runs = _runs(model, dataset)
            if dataset == "ssv2" or (model, dataset) == ("vivit", "epic"):
                runs = [{**run, "remark": UNREADABLE} for run in runs]
            experiments[f"{model}_{dataset}"] = _experiment(model, dataset, runs)
    for model, frames in SWAPPED_FRAMES.items():
        other = LARGEST["videomae" if model == "vivit" else "vivit"]
        curve = {"purpose": "Accuracy curve (diff between ViViT and VideoMAE)", "r": _curve(other)}
        runs = [{**curve, "remark": OTHER_WEIGHTS}] if model == "vivit" else [curve]
        changes = {"model": {"num_frames": frames}, "data": {"stride": STRIDES[model]}}
        experiments[f"{model}_k400_{frames}_frames"] = _experiment(model, "k400", runs, changes)
    config.sweep.experiments = experiments
    return config


def _experiment(model: str, dataset: str, runs: Runs, changes: dict | None = None) -> dict:
    changes = changes or {}
    return {
        "config": str(pathlib.Path(__file__).with_name(f"{MODELS[model]}_{dataset}.py")),
        "changes": {**changes, "data": {**changes.get("data", {}), "protocol": "paper"}},
        "runs": tuple(runs),
    }


def _runs(model: str, dataset: str) -> Runs:
    """All that is run of one model on one data set, with the model's own number of frames."""
    optimal = {"r": ROUGHLY_OPTIMAL[model], "mode": "merge"}
    runs: Runs = [{"purpose": purpose, "mode": "none"} for purpose in ("Baselines", "Baselines (time)")]
    # The reference has no constant schedule of ViViT on Something-Something, but for its time.
    constant = (model, dataset) != ("vivit", "ssv2")
    if constant:
        runs += [
            {"purpose": f"{share} merging", "mode": "merge", "r": LARGEST[model] // part}
            for share, part in SHARES.items()
        ]
    for slope, inflection in SCHEDULES.items():
        purpose = f"{slope}roughly optimal merging" if slope else "Roughly optimal merging"
        if constant or slope:
            runs.append({"purpose": purpose, "inflection": inflection, **optimal})
        runs.append({"purpose": f"{purpose} (time)", "inflection": inflection, **optimal})
    for word, mode in MODES.items():
        for slope, inflection in SCHEDULES.items():
            purpose = f"{slope}roughly optimal with {word}" if slope else f"Roughly optimal with {word}"
            runs.append({**optimal, "purpose": purpose, "mode": mode, "inflection": inflection})
        runs.append({**optimal, "purpose": f"Roughly optimal with {word} (time)", "mode": mode})
    if model in JOINT:
        runs += _joint_runs(model, dataset, optimal, constant)
    return runs


def _joint_runs(model: str, dataset: str, optimal: dict, constant: bool) -> Runs:
    runs: Runs = [{**optimal, "purpose": "Hybrid results", "mode": "hybrid", "threshold": HYBRID_THRESHOLDS[model]}]
    if constant:
        purpose = "Roughly optimal with concat head aggregation"
        runs.append({**optimal, "purpose": purpose, "head_aggregation": "concat"})
        runs += [_duplicated(layer, 12, optimal["r"]) for layer in (0, 11)]
    if dataset == "k400":
        runs += [
            {"purpose": f"{kind} curve{words}", "mode": "merge", "r": _curve(LARGEST[model]), "inflection": inflection}
            for words, inflection in CURVE_SCHEDULES.items()
            for kind in ("Accuracy", "Time")
        ]
    if dataset == "epic":
        purpose = "Confusion matrix results"
        runs.append({"purpose": purpose, "mode": "none"})
        runs.append({"purpose": purpose, "mode": "merge", "r": PREDICTIONS_KEPT[model]})
    return runs


def _duplicated(layer: int, times: int, r: int) -> dict:
    """One layer many times, merging there only."""
    return {
        "purpose": "Roughly optimal with duplicated layers",
        "mode": "merge",
        "r": ((0,) * layer + (r,) * times,),
        "repeat_layer": (layer, times),
        "remark": DUPLICATED,
    }


def _curve(largest: int) -> tuple[int, ...]:
    step = largest // CURVE_POINTS
    return tuple(step * point for point in range(1, CURVE_POINTS + 1))
