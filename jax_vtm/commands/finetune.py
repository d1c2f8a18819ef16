"""`python main.py finetune`: trains the config's model, and evaluates it unmerged and merged."""

import contextlib
import copy
import csv
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.commands.evaluate import evaluate_config
from jax_vtm.commands.training_log import TrainingLog
from jax_vtm.config import Config, flattened
from jax_vtm.config.grid import REDUCTION_AXES, axes_of_words, combinations
from jax_vtm.data import Failure, moving_digits
from jax_vtm.errors import Stopped
from jax_vtm.evaluation import (
    Processes,
    ResumeState,
    Variant,
    build,
    combine_heads,
    connect,
    correct_predictions,
    hold_process_id,
    main_metric,
)
from jax_vtm.evaluation.progress import Progress, waiting
from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.evaluation.run_pass import code_of_failures, run_pass
from jax_vtm.evaluation.trackers import Trackers, open_trackers
from jax_vtm.files import AnyPath, remove_leftovers, write_table, write_text
from jax_vtm.lock import held
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.training import BatchSource, States, TrainingSettings, initial_params, train, training_settings
from jax_vtm.training.sources import open_training_clips

# Keys that change nothing of what is learned.
_NO_RESULT_KEYS = {
    *(f"train.{key}" for key in ("log_every", "checkpoint_every", "keep")),
    *(f"train.{key}" for key in ("evaluate", "evaluate_every", "evaluate_videos")),
    *(f"data.{key}" for key in ("description", "split", "num_videos", "num_clips", "num_crops", "single_crop")),
    *(f"data.{key}" for key in ("view_average", "batch_size", "clips_at_once", "num_threads", "num_workers")),
    "data.max_failures",
}


def run(config: Config, workdir: AnyPath) -> int:
    """Trains, saving states to `workdir/states`; writes `workdir/checkpoint` at the end and evaluates it.

    Returns:
        The exit code.
    """
    build.use_compilation_cache(config.compilation_cache)
    with hold_process_id(workdir, config.distributed.process_id):
        connect(**config.distributed, timeout_s=config.host_timeout_s)
        with (
            Processes(config.host_timeout_s) as processes,
            open_trackers(config, workdir, is_first=processes.is_first) as trackers,
        ):
            return _run(config, workdir, processes, trackers)


def _run(config: Config, workdir: AnyPath, processes: Processes, trackers: Trackers) -> int:
    unmerged = build.model(config, no_reduction())
    protocol = build.protocol(config, unmerged)
    processes.doing("opening the videos")
    clips, per_epoch = None, len(moving_digits.digits(test=False)[1]) * len(moving_digits.VERBS)
    if config.data.name != "moving_digits" or config.clips.path or config.data.path:
        clips = open_training_clips(config, unmerged, protocol)
        per_epoch = clips.per_epoch
    settings, fields = training_settings(config, unmerged.family, per_epoch)
    models = [unmerged.clone(**fields)]
    if reductions := training_reductions(config):
        models = [build.model(config, reduction).clone(**fields) for reduction in reductions]
    failures_csv = workdir / ("failures.csv" if processes.count == 1 else f"failures_{processes.index}.csv")
    with contextlib.ExitStack() as opened:
        if clips is not None:
            opened.enter_context(contextlib.closing(clips))
        check_lock: Callable[[], None] | None = None
        if processes.is_first:
            check_lock = opened.enter_context(held(workdir / ".lock"))
            remove_leftovers(workdir)
            write_text(workdir / "config.json", f"{config.to_json_best_effort(indent=2)}\n")
        params = _first_params(config, workdir, unmerged, settings, processes)
        processes.check_equal({"settings": repr(settings), "training": made_of(config)})
        with States(workdir / "states", made_of(config), settings.keep) as states:
            log = TrainingLog(config.name, settings, workdir if processes.is_first else None)
            progress = opened.enter_context(Progress(settings.steps, "steps")) if processes.is_first else None
            starting = opened.enter_context(contextlib.ExitStack())
            starting.enter_context(waiting("compiling, and the first steps"))

            def on_start(done: int) -> None:
                log.begin(done)
                if clips is not None and done:
                    clips.failures.update(_read_failures(failures_csv))
                if done and progress is not None:
                    print(f"continuing after step {done} of {settings.steps}", file=sys.stderr)
                    progress.start_at(done)

            def on_step(step: int, metrics: dict[str, float]) -> None:
                starting.close()
                if check_lock is not None:
                    check_lock()
                processes.doing(f"training after step {step}")
                if clips is not None:
                    write_table(failures_csv, [dataclasses.asdict(failure) for failure in clips.failures.values()])
                row = log.add(step, metrics)
                if progress is not None:
                    progress.advance_to(step, ", ".join(f"{name} {value:.3g}" for name, value in row.items()))
                trackers.trained(step, row)

            def evaluate(step: int, params: Any) -> float | None:
                every = config.train.evaluate_every * per_epoch / settings.batch_size
                if not every or step // every == (step - settings.checkpoint_every) // every:
                    return None
                scores = evaluate_params(config, workdir, step, params, processes)
                log.evaluated(step, scores)
                return scores[UNMERGED]

            with processes.unwatched():
                done, params = train(
                    models,
                    clips or _embedded_digits(config, processes),
                    settings,
                    states,
                    params,
                    backend=config.backend,
                    mean=protocol.mean,
                    std=protocol.std,
                    on_start=on_start,
                    on_step=on_step,
                    evaluate=evaluate,
                    told_to_stop=lambda: processes.told_to_stop,
                )
        log.write(finished=True)
        if done < settings.steps:
            raise Stopped(f"the training was stopped after step {done} of {settings.steps}; the same command goes on.")
        if processes.is_first:
            path = save_checkpoint(workdir / "checkpoint", params, step=settings.steps)
            print(f"wrote {path} (sha256 {checkpoint_digest(path)[:12]})")
        processes.exchange()
    code = code_of_failures(len(clips.failures) if clips else 0, config.data.max_failures, str(failures_csv))
    if not config.train.evaluate:
        return code
    config = copy.deepcopy(config)
    config.update(checkpoint=str(workdir / "checkpoint"))
    return max(code, evaluate_config(config, workdir / "evaluation", processes, trackers))


def _read_failures(path: AnyPath) -> dict[str, Failure]:
    """Returns the videos that the run could not read before it was stopped."""
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines()) if path.exists() else []
    return {row["id"]: Failure(row["id"], row["reason"]) for row in rows}


def _embedded_digits(config: Config, processes: Processes) -> BatchSource:
    """This process's part of each batch of the digits, which are drawn as they are asked for."""

    def batch(step: int, batch_size: int):
        rows = batch_size // processes.count
        part = slice(processes.index * rows, (processes.index + 1) * rows)
        return jax.tree.map(lambda leaf: leaf[part], moving_digits.training_batch(config.train.seed, step, batch_size))

    return batch


def training_reductions(config: Config) -> list[Reduction]:
    """Reads `config.train.reduction`: every combination of its axes, with `config.reduction` for those that it has not.

    Raises:
        UserError: A value that cannot be.
    """
    where = "config.train.reduction"
    grid = axes_of_words(config.train.reduction, where)
    if not grid:
        return []
    given = {key: value for key, value in config.reduction.to_dict().items() if key not in grid}
    found = combinations(grid, REDUCTION_AXES, where)
    return [build.fitted(config, Reduction(**{**given, **values})) for values in found]


def made_of(config: Config) -> dict[str, Any]:
    """Returns the keys of a config that the weights depend on."""
    sections = ("model.", "train.", "clips.", "data.", "init_from", *(["reduction."] if config.train.reduction else []))
    values = {key: value for key, value in flattened(config) if key.startswith(sections) and key not in _NO_RESULT_KEYS}
    return json.loads(json.dumps({f"config.{key}": value for key, value in values.items()}, default=str))


def _first_params(
    config: Config, workdir: AnyPath, model: VideoClassifier, settings: TrainingSettings, processes: Processes
) -> Any:
    """Initialises the parameters, or fits those of `config.init_from` and says what became of each."""
    with waiting("initialising the model"):
        video = jnp.zeros((1, *model.input_shape), jnp.float32)
        fresh = jax.jit(model.init)(jax.random.key(settings.seed), video)["params"]
    if not config.init_from:
        return fresh
    train = config.train
    params, rows = initial_params(
        model,
        fresh,
        config.init_from,
        positions=settings.init_positions,
        kernel=train.init_kernel,
        new=tuple(train.init_new),
    )
    if processes.is_first:
        write_table(workdir / "init.csv", rows)
        new = sum(not row["from"] for row in rows)
        changed = [f"{row['leaf']} ({row['how']})" for row in rows if row["from"] and row["how"] != "taken"]
        print(
            f"{config.init_from}: {len(rows) - new} of {len(rows)} arrays taken, {new} new; changed: "
            f"{', '.join(changed) or 'none'}. {workdir / 'init.csv'} lists all.",
            file=sys.stderr,
        )
    return params


def evaluate_params(config: Config, workdir: AnyPath, step: int, params: Any, processes: Processes) -> dict[str, float]:
    """Evaluates weights while they are trained, on `train.evaluate_videos` videos.

    Returns:
        The share that is right, by the metric that runs are compared by, of the unmerged and the merged model.
    """
    config = copy.deepcopy(config)
    config.data.num_videos = config.train.evaluate_videos or config.data.num_videos
    model, merged = build.model(config, no_reduction()), build.reduction(config)
    variants = [Variant(UNMERGED, model, params)]
    if merged.mode != "none":
        variants.append(Variant(run_name(merged), build.model(config, merged), params))
    protocol = build.protocol(config, model)
    with processes.first_before_others():
        source = build.videos(config, model)
    begun_by = None if processes.is_first else processes.from_first(None)
    made = {**made_of(config), "step": step, "videos": len(source)}
    with ResumeState(workdir / "evaluations" / f"step_{step}", made, begun_by=begun_by) as state:
        if processes.is_first:
            processes.from_first(state.id)
        evaluation = run_pass(config, variants, source, protocol, state, processes)
    scores = {}
    if evaluation is not None:
        for name, predictions in evaluation.predictions.items():
            combined = combine_heads(predictions.logits, protocol.view_average)
            right = correct_predictions(combined, combined, evaluation.labels)
            scores[name] = float(np.mean(right[main_metric(right)]))
    return processes.from_first(scores)
