"""`python main.py finetune`: trains the config's model and saves it as a checkpoint that `evaluate` reads."""

import contextlib
import dataclasses
import functools
import pathlib
import sys

import jax
import numpy as np

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.config import Config
from jax_vtm.data import moving_digits
from jax_vtm.evaluation import build
from jax_vtm.evaluation.progress import Progress, waiting
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.evaluation.trackers import open_trackers
from jax_vtm.files import remove_leftovers, write_table
from jax_vtm.lock import held
from jax_vtm.merging import no_reduction
from jax_vtm.training import TrainingSettings, learning_rate_schedule, train
from jax_vtm.training.sources import open_training_clips


def run(config: Config, workdir: pathlib.Path) -> int:
    """Trains, saving states to `workdir/states`, and writes `workdir/checkpoint` at the end.

    Returns:
        The exit code.
    """
    build.use_compilation_cache(config.compilation_cache)
    given = {key: value for key, value in config.train.items() if value is not None}
    settings = TrainingSettings(**{key: value for key, value in given.items() if key != "recipe"})
    # Merging needs no training: the model is trained as it is.
    model = build.model(config, no_reduction())
    protocol = build.protocol(config, model)
    embedded = config.data.name == "moving_digits" and not (config.clips.path or config.data.path)
    clips = None if embedded else open_training_clips(config, model, protocol)
    batches = clips or functools.partial(moving_digits.training_batch, settings.seed)
    normalisation = {"mean": protocol.mean, "std": protocol.std}
    states = workdir / "states"
    schedule = learning_rate_schedule(settings)
    with (
        held(workdir / ".lock") as check_lock,
        open_trackers(config, workdir) as trackers,
        Progress(settings.steps, "steps") as progress,
        contextlib.ExitStack() as first_steps,
        contextlib.closing(clips) if clips else contextlib.nullcontext(),
    ):
        remove_leftovers(workdir, states)

        def on_start(done: int) -> None:
            if done:
                print(f"continuing after step {done} of {settings.steps}", file=sys.stderr)
                progress.start_at(done)

        def on_step(step: int, metrics: dict[str, float]) -> None:
            status = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            check_lock()
            first_steps.close()
            progress.advance_to(step, status)
            # That of the step that was the last.
            trackers.trained(step, {**metrics, "learning_rate": float(np.asarray(schedule(step - 1)))})

        first_steps.enter_context(waiting("compiling, and the first steps"))
        params = train(model, batches, settings, states, on_start=on_start, on_step=on_step, **normalisation)
        path = save_checkpoint(workdir / "checkpoint", params, step=settings.steps)
    print(f"wrote {path} (sha256 {checkpoint_digest(path)[:12]})")
    failures = list(clips.failures.values()) if clips else []
    alone = jax.process_count() == 1
    table = workdir / ("failures.csv" if alone else f"failures_{jax.process_index()}.csv")
    write_table(table, [dataclasses.asdict(failure) for failure in failures])
    return code_of_failures(len(failures), config.data.max_failures, str(table))
