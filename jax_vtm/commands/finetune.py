"""`python main.py finetune`: trains the config's model and saves it as a checkpoint that `evaluate` reads."""

import functools
import pathlib
import sys

from jax_vtm.checkpoints import checkpoint_digest, save_checkpoint
from jax_vtm.commands import build
from jax_vtm.commands.cli import SUCCESS
from jax_vtm.commands.defaults import Config
from jax_vtm.commands.progress import Progress
from jax_vtm.data import moving_digits
from jax_vtm.errors import UserError
from jax_vtm.merging import no_reduction
from jax_vtm.training import TrainingSettings, saved_steps, train


def run(config: Config, workdir: pathlib.Path) -> int:
    """Trains, saving states to `workdir/states`, and writes `workdir/checkpoint` at the end.

    Returns:
        The exit code.
    """
    if config.data.name != "moving_digits":
        raise UserError(f"config.data.name is {config.data.name!r}; training data exists for moving_digits only.")
    build.use_compilation_cache(config.compilation_cache)
    settings = TrainingSettings(**config.train)
    # Merging needs no training: the model is trained as it is.
    model = build.model(config, no_reduction())
    states = workdir / "states"
    done = saved_steps(states)
    if done:
        print(f"continuing after step {done} of {settings.steps}", file=sys.stderr)

    with Progress(settings.steps, "steps", start=done) as progress:

        def on_step(step: int, metrics: dict[str, float]) -> None:
            status = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            progress.advance_to(step, status)

        batches = functools.partial(moving_digits.training_batch, settings.seed)
        params = train(model, batches, settings, states, on_step=on_step)
    path = save_checkpoint(workdir / "checkpoint", params, step=settings.steps)
    print(f"wrote {path} (sha256 {checkpoint_digest(path)[:12]})")
    return SUCCESS
