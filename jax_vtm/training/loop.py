"""The training loop: one batch after the other, continuing after a stop."""

import concurrent.futures
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import jax_utils

from jax_vtm.errors import UserError
from jax_vtm.models import VideoClassifier
from jax_vtm.training.optimizer import TrainingSettings
from jax_vtm.training.resume import restore_state, save_state
from jax_vtm.training.step import create_state, create_train_step

# (step, batch size) -> (video [B, T, H, W, 3], labels {head: int [B]}, mask float32 [B], 0 for a padded clip); a
# function of the step alone, so that a continued run sees the same batches as an uninterrupted one.
BatchSource = Callable[[int, int], tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]]


def train(
    model: VideoClassifier,
    batches: BatchSource,
    settings: TrainingSettings,
    folder: pathlib.Path,
    *,
    on_start: Callable[[int], None] = lambda step: None,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> Any:
    """Trains from scratch, or from the newest intact state in `folder`.

    Args:
        model: The model.
        batches: Gives the clips of a step.
        settings: How to train.
        folder: Where states are saved and looked for.
        on_start: Called with the number of steps that were done before.
        on_step: Called with the number of steps done and the metrics averaged since the last call.

    Returns:
        The trained parameters.

    Raises:
        UserError: A batch size that does not divide over the devices, or states of which none can be used.
    """
    devices = jax.local_device_count()
    if settings.batch_size % devices:
        raise UserError(
            f"train.batch_size is {settings.batch_size}; with {devices} devices it must be a multiple of {devices}."
        )
    state = restore_state(folder, create_state(model, settings))
    first = int(state.step)
    on_start(first)
    state = jax_utils.replicate(state)
    train_step = create_train_step(model, settings)

    waiting: list[dict] = []
    for step, batch in _prefetched(batches, first, settings):
        state, metrics = train_step(state, *jax.tree.map(lambda leaf: _spread(leaf, devices), batch))
        waiting.append(metrics)
        if len(waiting) > 1:
            # Waiting for the step before the last keeps at most two in flight.
            jax.block_until_ready(waiting[-2])
        done = step + 1
        if done % settings.log_every == 0 or done == settings.steps:
            on_step(done, _averages(waiting))
            waiting = []
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            save_state(folder, jax_utils.unreplicate(state))
    return jax.tree.map(np.asarray, jax_utils.unreplicate(state).params)


def _prefetched(batches: BatchSource, first: int, settings: TrainingSettings) -> Iterator[tuple[int, Any]]:
    """Prepares the next batch in a thread while the devices work on this one."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(batches, first, settings.batch_size)
        for step in range(first, settings.steps):
            batch = following.result()
            following = pool.submit(batches, step + 1, settings.batch_size)
            yield step, batch


def _spread(leaf: np.ndarray, devices: int) -> np.ndarray:
    return leaf.reshape(devices, -1, *leaf.shape[1:])


def _averages(metrics: list[dict]) -> dict[str, float]:
    host = [jax.tree.map(lambda leaf: float(np.asarray(leaf)[0]), entry) for entry in metrics]
    return {name: float(np.mean([entry[name] for entry in host])) for name in host[0]}
