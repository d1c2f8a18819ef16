"""Training steps with and without merging, each next to the others (`benchmark.what=training`).

A step is that of `finetune`: forward, backward and update, on clips that are on the device already. It is as
`config.train` says, a recipe included; what a number there is, such as the learning rate, changes no time. In every
round each experiment has its turn, and is compared with the unmerged one of the same round.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks.experiments import OURS, Experiment, read_experiments
from jax_vtm.benchmarks.inputs import Inputs, random_params
from jax_vtm.benchmarks.model import cannot_run
from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build, head_names
from jax_vtm.evaluation.progress import Progress
from jax_vtm.files import AnyPath
from jax_vtm.reports import Column
from jax_vtm.reports.formatting import TIMES, factor, number, plural, tokens_per_layer
from jax_vtm.timing import interleaved, ratios, repeats, spread, timed
from jax_vtm.training import training_settings
from jax_vtm.training.step import DevicesStep, create_device_step, create_state


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Measures all experiments on one device, and yields the results after every round.

    Raises:
        UserError: A value that cannot be, or nothing that can be measured here.
    """
    settings = config.benchmark
    given = read_experiments(config)
    experiments = [one for one in given if one.implementation == OURS and not one.truncated]
    if not experiments:
        raise UserError("config.benchmark: what=training times jax_vtm's own models, not truncated; none is given.")
    if others := [one.name for one in given if one not in experiments]:
        print(f"left out, since no such model is trained: {', '.join(others)}", file=sys.stderr)
    inputs, timers = Inputs(jax.local_devices()[0]), {}
    reasons: dict[Experiment, str] = {}
    for place, one in enumerate(experiments, 1):
        print(f"preparing {place} of {len(experiments)}: {one.name}", file=sys.stderr, flush=True)
        try:
            timer = timed(_step(one, inputs))
            timers[one] = timer, repeats(timer, settings.min_seconds)
        except Exception as error:
            reasons[one] = cannot_run(error)
            if not reasons[one]:
                raise
    if not timers:
        raise UserError("\n  ".join(["none of the experiments can be measured here:", *reasons.values()]))
    seconds: dict[Experiment, list[float]] = {one: [] for one in timers}
    with Progress(settings.rounds, "rounds") as progress:
        for done, taken in enumerate(interleaved(timers, settings.rounds), 1):
            for one, found in taken.items():
                seconds[one].append(found.wall)
            rows = [_row(one, experiments, seconds, reasons.get(one, "")) for one in experiments]
            yield {"rounds": done, "min_seconds": settings.min_seconds, "rows": rows, "measured": {}}
            progress.advance(1)


def _step(one: Experiment, inputs: Inputs) -> Any:
    """Compiles a step, and returns a call that does the next one."""
    config = one.config.copy_and_resolve_references()
    config.train.update(batch_size=one.batch, batch_size_per_host=None, steps=2**30, warmup_steps=0.0)
    config.train.learning_rate = config.train.learning_rate or 1e-4
    settings, fields = training_settings(config, one.model.family, clips_per_epoch=2**30)
    settings.rows_per_device(1)
    model = build.model(one.config, one.reduction).clone(**fields)
    step = DevicesStep(create_device_step(model, settings), one.config.backend, [inputs.device])
    classes = head_names(model)
    labels = {head: np.arange(one.batch, dtype=np.int32) % count for head, count in classes.items()}
    clips = inputs.frames(one), labels, np.ones(one.batch, np.float32), np.zeros(one.batch, bool)
    batch, state = step.shard(clips), step.replicate(create_state(random_params(one.model), settings))

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    run()
    return run


def _row(
    one: Experiment, experiments: Sequence[Experiment], seconds: dict[Experiment, list[float]], reason: str
) -> dict[str, Any]:
    baseline = next((other for other in experiments if other.is_baseline and other.group == one.group), None)
    macs, measured = one.macs.total, {}
    mac_ratio = baseline.macs.total / macs if baseline else None
    if taken := seconds.get(one):
        measured = {
            "seconds": list(taken),
            "ms_per_clip": spread([1e3 * value / one.batch for value in taken]),
            "clips_per_s": spread([one.batch / value for value in taken]),
        }
        if baseline and mac_ratio and (reference := seconds.get(baseline)):
            found = ratios(reference, taken)
            measured["speedup"] = spread(found)
            measured["percent_of_mac_ratio"] = spread([100 * value / mac_ratio for value in found])
    return {
        "name": one.name,
        "reason": reason,
        "batch": one.batch,
        "model": one.fields,
        "reduction": dataclasses.asdict(one.reduction),
        "tokens_per_layer": list(one.model.tokens_per_layer),
        "macs_per_clip": macs,
        "mac_ratio": mac_ratio,
        "measured": measured,
    }


def _flat(row: Row) -> Row:
    """A row's values by the columns' keys; a rate has the interval of its time."""
    measured, keys = row["measured"], ("name", "reason", "mac_ratio")
    return {
        **{key: row[key] for key in keys},
        **{key: measured.get(key) for key in ("ms_per_clip", "speedup", "percent_of_mac_ratio")},
        "clips_per_s": measured["clips_per_s"]["median"] if measured else None,
        "r": str(row["reduction"]["r"]),
        "gmacs": row["macs_per_clip"] / 1e9,
        "tokens": tokens_per_layer(row["tokens_per_layer"]),
    }


def _headline(results: Row) -> str:
    faster = [row for row in results["rows"] if row["mac_ratio"] != 1 and "speedup" in row["measured"]]
    if not faster:
        return f"{plural(len(results['rows']), 'training step')} measured."
    best = max(faster, key=lambda row: row["measured"]["speedup"]["median"])
    gained, allowed = best["measured"]["speedup"]["median"], best["mac_ratio"]
    return (
        f"A training step with {best['name']} is {factor(gained)}{TIMES} as fast as unmerged, of the "
        f"{factor(allowed)}{TIMES} that the arithmetic of the forward pass allows."
    )


REPORT = Report(
    names=(Column("name", "experiment"),),
    columns={
        "Training steps": (
            Column("r", "r"),
            Column("ms_per_clip", "time", "ms/clip", number, "Median of the rounds, and quartiles."),
            Column("clips_per_s", "rate", "clips/s", number),
            Column("mac_ratio", "MAC ratio", TIMES, factor, "Forward MACs of the unmerged model over these."),
            Column("speedup", "speed-up", TIMES, factor, "Median of the rounds' ratios to the unmerged step."),
            Column("percent_of_mac_ratio", "of MAC ratio", "%", "{:.0f}".format),
        ),
        "Arithmetic": (
            Column("gmacs", "GMACs", format=number, note="Of a forward pass of one clip, in 10^9."),
            Column("tokens", "tokens per layer"),
        ),
        "Not measured": (Column("reason", "reason"),),
    },
    headline=_headline,
    flat=_flat,
    facts=lambda results: [
        ("Rounds", f"{results['rounds']}, in each of which every experiment has its turn"),
        ("Step", f"forward, backward and update of {results['rows'][0]['batch']} clips at a time; one device"),
    ],
)
