"""`python main.py finetune`: trains the config's model, and evaluates it unmerged and merged."""

import contextlib
import copy
import csv
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.commands.evaluate import evaluate_config
from jax_vtm.commands.training_log import TrainingLog
from jax_vtm.config import Config
from jax_vtm.data import Failure
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
from jax_vtm.merging import no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.training import (
    States,
    Training,
    TrainingSettings,
    initial_params,
    made_of,
    open_training_clips,
    train,
    training_settings,
)
from jax_vtm.training.clips import TrainingClips
from jax_vtm.training.sources import EmbeddedDigits

FAILURES = "failures.csv"


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
    with contextlib.ExitStack() as opened:
        clips = opened.enter_context(contextlib.closing(open_training_clips(config, unmerged, protocol)))
        settings, fields = training_settings(config, unmerged.family, clips.per_epoch)
        reductions = build.reductions(config, config.train.reduction, "config.train.reduction") or [no_reduction()]
        models = [build.model(config, reduction).clone(**fields) for reduction in reductions]
        run = opened.enter_context(_Run(config, workdir, processes, trackers, settings, clips))
        params = _first_params(config, workdir, unmerged, settings, processes)
        processes.check_equal({"settings": repr(settings), "training": made_of(config)})
        with States(workdir / "states", made_of(config), settings.keep) as states, processes.unwatched():
            training = Training(models, states, params, run.on_start, run.on_step, run.evaluate)
            done, (params,) = train(
                [training],
                clips,
                settings,
                backend=config.backend,
                mean=protocol.mean,
                std=protocol.std,
                told_to_stop=lambda: processes.told_to_stop,
            )
        run.log.write(finished=True)
        if done < settings.steps:
            raise Stopped(f"the training was stopped after step {done} of {settings.steps}; the same command goes on.")
        if processes.is_first:
            path = save_checkpoint(workdir / "checkpoint", params, step=settings.steps)
            print(f"wrote {path} (sha256 {checkpoint_digest(path)[:12]})")
        failed = run.write_failures_of_all()
    code = code_of_failures(failed, config.data.max_failures, str(workdir / FAILURES))
    if not config.train.evaluate:
        return code
    config = copy.deepcopy(config)
    config.update(checkpoint=str(workdir / "checkpoint"))
    return max(code, evaluate_config(config, workdir / "evaluation", processes, trackers))


class _Run:
    """What goes on next to the steps: the workdir's lock, log and failures, progress, and evaluations.

    Use it as a context, in which process 0 has the workdir for itself.
    """

    def __init__(
        self,
        config: Config,
        workdir: AnyPath,
        processes: Processes,
        trackers: Trackers,
        settings: TrainingSettings,
        clips: TrainingClips | EmbeddedDigits,
    ):
        self._config, self._workdir, self._processes, self._trackers = config, workdir, processes, trackers
        self._settings, self._clips = settings, clips
        self.log = TrainingLog(config.name, settings, workdir if processes.is_first else None)
        # Until the end each process has its own.
        self._failures = workdir / (FAILURES if processes.count == 1 else f"failures_{processes.index}.csv")
        self._opened = contextlib.ExitStack()
        self._progress: Progress | None = None
        self._check_lock: Callable[[], None] = lambda: None

    def __enter__(self) -> "_Run":
        with contextlib.ExitStack() as opened:
            if self._processes.is_first:
                self._check_lock = opened.enter_context(held(self._workdir / ".lock"))
                remove_leftovers(self._workdir)
                write_text(self._workdir / "config.json", f"{self._config.to_json_best_effort(indent=2)}\n")
                self._progress = opened.enter_context(Progress(self._settings.steps, "steps"))
            self._starting = opened.enter_context(contextlib.ExitStack())
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def on_start(self, done: int) -> None:
        """Goes on after so many steps, with what was noted of them."""
        self.log.begin(done)
        if done:
            self._clips.failures.update(_read_failures(self._failures))
        if done and self._progress is not None:
            print(f"continuing after step {done} of {self._settings.steps}", file=sys.stderr)
            self._progress.start_at(done)
        self._starting.enter_context(waiting("compiling, and the first steps"))

    def on_step(self, step: int, metrics: dict[str, float]) -> None:
        """Notes and shows what happened since the last call."""
        self._starting.close()
        self._check_lock()
        self._processes.doing(f"training after step {step}")
        write_table(self._failures, self._failed())
        row = self.log.add(step, metrics)
        if self._progress is not None:
            self._progress.advance_to(step, ", ".join(f"{name} {value:.3g}" for name, value in row.items()))
        self._trackers.trained(step, row)

    def evaluate(self, step: int, params: Any) -> float | None:
        """Evaluates where `train.evaluate_every` epochs are over; returns the unmerged model's score."""
        settings = self._settings
        every = self._config.train.evaluate_every * self._clips.per_epoch / settings.batch_size
        if not every or step // every == (step - settings.checkpoint_every) // every:
            return None
        scores = evaluate_params(self._config, self._workdir, step, params, self._processes)
        self.log.evaluated(step, scores)
        return scores[UNMERGED]

    def write_failures_of_all(self) -> int:
        """Writes the videos that any process could not read into one file, and returns how many there are."""
        failed = {row["id"]: row for rows in self._processes.exchange(self._failed()) for row in rows}
        if self._processes.is_first:
            write_table(self._workdir / FAILURES, [*failed.values()])
        return len(failed)

    def _failed(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(failure) for failure in self._clips.failures.values()]


def _read_failures(path: AnyPath) -> dict[str, Failure]:
    """Returns the videos that the run could not read before it was stopped."""
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines()) if path.exists() else []
    return {row["id"]: Failure(row["id"], row["reason"]) for row in rows}


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
