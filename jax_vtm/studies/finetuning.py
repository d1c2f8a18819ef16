"""The study of finetuning: what does merging while training win back of the accuracy that merging costs?

A checkpoint is trained on, for every reduction and seed with that reduction on, and without any: the control. All
trainings of a seed go step by step together and see the same clips. One pass evaluates all weights next to the
checkpoint as it is.
"""

import contextlib
import copy
import dataclasses
import functools
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jax_vtm.checkpoints import checkpoint_digest
from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, Failure
from jax_vtm.errors import Stopped, UserError
from jax_vtm.evaluation import (
    Evaluation,
    Processes,
    ResumeState,
    Variant,
    as_probabilities,
    build,
    combine_heads,
    correct_predictions,
    main_metric,
)
from jax_vtm.evaluation.auto import with_fastest_backends
from jax_vtm.evaluation.metrics import Z
from jax_vtm.evaluation.progress import Progress
from jax_vtm.evaluation.results import SCHEMA_VERSION, summarise, without_details
from jax_vtm.evaluation.run_names import UNMERGED, effective, run_name
from jax_vtm.evaluation.run_pass import check_readable, run_pass, write_predictions
from jax_vtm.files import AnyPath, set_aside
from jax_vtm.lock import held
from jax_vtm.merging import no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.models.compute import narrowed
from jax_vtm.reports import Page
from jax_vtm.reports.runs import runs_table
from jax_vtm.studies.finetuning_page import (
    TRAINING_FREE,
    WITH_MERGING,
    WITHOUT_MERGING,
    finetuning_headline,
    finetuning_page,
    finetuning_table,
)
from jax_vtm.training import States, Training, TrainingSettings, made_of, open_training_clips, train, training_settings


def study_finetuning(
    config: Config, workdir: AnyPath, folder: AnyPath
) -> tuple[dict[str, Any], Page, str, dict[str, str]]:
    """Trains what is not trained yet, evaluates, and goes on after a stop.

    Returns:
        The results, their page, its headline, and tables by file name.

    Raises:
        UserError: No reductions, seeds or labels, or more videos to train on that cannot be read than are allowed.
        Stopped: The process was told to end.
    """
    models = _merged_models(config)
    unmerged = build.model(config, no_reduction())
    params = build.params(config, unmerged)
    protocol, source = build.protocol(config, unmerged), build.videos(config, unmerged)
    with held(folder / ".lock"), Processes(config.host_timeout_s) as processes:
        if config.restart:
            set_aside(folder / "training")
        finetuning = _Finetuning(config, folder / "training", unmerged, protocol, processes)
        variants: dict[tuple[str, str, int | None], Variant] = {}

        def add(name: str, model: VideoClassifier, how: str, params: Any, seed: int | None = None) -> None:
            title = name if seed is None else f"{name}, {how}, seed {seed}"
            variants[name, how, seed] = Variant(title, model, params)

        shared = narrowed(params, unmerged.dtype)
        for name, model in {UNMERGED: unmerged, **models}.items():
            add(name, model, TRAINING_FREE, shared)
        seeds = [config.train.seed + number for number in range(config.study.seeds)]
        for place, seed in enumerate(seeds):
            control = {UNMERGED: unmerged} if place < config.study.controls else {}
            settings, trained = finetuning.of({**models, **control}, seed, params)
            for name, model in models.items():
                add(name, model, WITH_MERGING, trained[name], seed)
            if control:
                for name, model in {**control, **models}.items():
                    add(name, model, WITHOUT_MERGING, trained[UNMERGED], seed)
        evaluated = with_fastest_backends([*variants.values()])
        fingerprint = build.fingerprint(config, source, protocol) | made_of(config)
        fingerprint["runs"] = [variant.name for variant in evaluated]
        with ResumeState(folder / "resume", fingerprint, restart=config.restart) as state:
            evaluation = run_pass(config, evaluated, source, protocol, state, processes)
    assert evaluation is not None
    check_readable(evaluation, source)
    if not evaluation.labels:
        raise UserError("the videos that are evaluated have no labels, which accuracy takes.")
    write_predictions(folder / "predictions.npz", evaluation)
    results = without_details(summarise(config, evaluated, evaluation, source, protocol), evaluation, protocol)
    metric, right = _right(evaluation, protocol)
    by_weights: dict[tuple[str, str], list[Bool[np.ndarray, " n"]]] = {}
    for (name, how, _), variant in variants.items():
        by_weights.setdefault((name, how), []).append(right[variant.name])
    results |= {"schema_version": SCHEMA_VERSION, "command": "study", "name": config.name}
    results["study"] = {
        "what": "finetuning",
        "seeds": seeds,
        "metric": metric,
        "training": dataclasses.asdict(settings),
        "compared": compare({key: np.stack(rows) for key, rows in by_weights.items()}),
    }
    tables = {"finetuning.csv": finetuning_table(results).csv(), "runs.csv": runs_table(results).csv()}
    return results, finetuning_page(results), finetuning_headline(results), tables


def _merged_models(config: Config) -> dict[str, VideoClassifier]:
    """Returns the models of `config.study.reduction`, by the name of their reduction."""
    given = build.reductions(config, config.study.reduction, "config.study.reduction")
    reductions = [one for one in given if effective(one).mode != "none"]
    if not reductions:
        raise UserError(
            f"config.study.reduction is {config.study.reduction!r}; expected reductions to train with, such as "
            '"r=100,200".'
        )
    if config.study.seeds < 1:
        raise UserError(f"config.study.seeds is {config.study.seeds}; expected a whole number of at least 1.")
    return {run_name(one): build.model(config, one) for one in reductions}


class _Finetuning:
    """Trains the checkpoint on; finished trainings, and what there is of others, are in a folder each."""

    def __init__(
        self,
        config: Config,
        folder: AnyPath,
        unmerged: VideoClassifier,
        protocol: ClipProtocol,
        processes: Processes,
    ):
        self._config, self._folder, self._unmerged = config, folder, unmerged
        self._protocol, self._processes = protocol, processes
        self._checkpoint = checkpoint_digest(build.checkpoint(config))

    def of(
        self, models: Mapping[str, VideoClassifier], seed: int, params: Any
    ) -> tuple[TrainingSettings, dict[str, Any]]:
        """Returns how it trains, and the weights after training each model, by the name of its reduction."""
        config = copy.deepcopy(self._config)
        config.train.seed = seed
        with (
            contextlib.closing(open_training_clips(config, self._unmerged, self._protocol)) as clips,
            contextlib.ExitStack() as opened,
        ):
            settings, fields = training_settings(config, self._unmerged.family, clips.per_epoch)
            progress = opened.enter_context(Progress(settings.steps * len(models), "steps"))
            done_by = dict.fromkeys(models, 0)

            def on_start(name: str, done: int) -> None:
                done_by[name] = done
                progress.start_at(sum(done_by.values()))

            def on_step(name: str, done: int, metrics: Mapping[str, float]) -> None:
                done_by[name] = done
                _check_failures(clips.failures, config.data.max_failures)
                progress.advance_to(sum(done_by.values()), f"loss {metrics['loss']:.3g} ({name})")

            trainings = []
            for name, model in models.items():
                # No name of a reduction has other letters, but its commas and spaces are not for folders.
                folder = self._folder / re.sub(r"[^\w.=-]+", "_", f"{name}, seed {seed}")
                origin = {"reduction": name, "checkpoint (sha256)": self._checkpoint}
                states = opened.enter_context(States(folder, made_of(config) | origin, settings.keep))
                events = functools.partial(on_start, name), functools.partial(on_step, name)
                trainings.append(Training([model.clone(**fields)], states, params, *events))
            print(f"finetuning with seed {seed}: {'; '.join(models)}", file=sys.stderr)
            done, trained = train(
                trainings,
                clips,
                settings,
                backend=config.backend,
                mean=self._protocol.mean,
                std=self._protocol.std,
                told_to_stop=lambda: self._processes.told_to_stop,
            )
        if done < settings.steps:
            raise Stopped(f"finetuning (seed {seed}) was stopped after step {done}; the same command goes on.")
        weights = [narrowed(one, self._unmerged.dtype) for one in trained]
        return settings, dict(zip(models, weights, strict=True))


def _check_failures(failures: Mapping[str, Failure], most: int) -> None:
    if len(failures) > most:
        first = next(iter(failures.values()))
        raise UserError(
            f"{len(failures)} videos to train on could not be read, more than data.max_failures = {most}; the first "
            f"is {first.id}: {first.reason}"
        )


def _right(evaluation: Evaluation, protocol: ClipProtocol) -> tuple[str, dict[str, Bool[np.ndarray, " n"]]]:
    """Says of every run which videos it gets right, by the metric that runs are compared by."""
    found = {}
    for name, predictions in evaluation.predictions.items():
        scores = combine_heads(predictions.logits, protocol.view_average)
        probabilities = {head: as_probabilities(one, protocol.view_average) for head, one in scores.items()}
        found[name] = correct_predictions(scores, probabilities, evaluation.labels)
    metric = main_metric(next(iter(found.values())))
    return metric, {name: right[metric] for name, right in found.items()}


def compare(right: Mapping[tuple[str, str], Bool[np.ndarray, "S n"]]) -> list[dict[str, Any]]:
    """Compares weights with each other on the same videos.

    Args:
        right: By reduction and weights, which videos each seed's get right.

    Returns:
        An entry for each: "accuracy", "gain" over the training-free one with the same reduction, and "won_back", the
        gain's share of what the reduction costs without training; None where it costs nothing.
    """
    entries = []
    for (name, how), found in right.items():
        free = right[name, TRAINING_FREE]
        cost = float(np.mean(right[UNMERGED, TRAINING_FREE]) - np.mean(free))
        accuracy, gain = over_seeds(found.astype(float)), over_seeds(found.astype(float) - free)
        entries.append(
            {
                "run": name,
                "weights": how,
                "accuracy": {key: min(max(value, 0.0), 1.0) for key, value in accuracy.items()},
                "by_seed": np.mean(found, axis=1).tolist(),
                "cost": cost,
                "gain": gain,
                "won_back": gain["value"] / cost if cost > 0 else None,
            }
        )
    return entries


def over_seeds(values: Float[np.ndarray, "S n"]) -> dict[str, float]:
    """Returns the mean over seeds and videos with a 95 % interval.

    The interval counts both for draws: half of its width is the root of the sum of squares of that over videos, by
    their standard error (of means over seeds), and that over seeds, by theirs (of means over videos) with Student's t.
    """
    from scipy.stats import t

    seeds, videos = values.shape
    half = Z * np.std(values.mean(axis=0), ddof=1) / np.sqrt(videos) if videos > 1 else np.nan
    if seeds > 1:
        half = np.hypot(half, t.ppf(0.975, seeds - 1) * np.std(values.mean(axis=1), ddof=1) / np.sqrt(seeds))
    mean = float(values.mean())
    return {"value": mean, "low": float(mean - half), "high": float(mean + half)}
