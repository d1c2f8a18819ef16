"""The training loop: one batch after the other, continuing after a stop."""

import concurrent.futures
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.models import VideoClassifier
from jax_vtm.training.resume import restore_state, save_state
from jax_vtm.training.settings import TrainingSettings
from jax_vtm.training.step import DevicesStep, create_device_step, create_state

# (step, batch size) -> (video [B, T, H, W, 3], labels {head: int [B]}, mask float32 [B], 0 for a padded clip); a
# function of the step alone, so that a continued run sees the same batches as an uninterrupted one.
BatchSource = Callable[[int, int], tuple[np.ndarray, Mapping[str, np.ndarray], np.ndarray]]


def train(
    model: VideoClassifier,
    batches: BatchSource,
    settings: TrainingSettings,
    folder: pathlib.Path,
    *,
    mean: RGB = HALF,
    std: RGB = HALF,
    on_start: Callable[[int], None] = lambda step: None,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> Any:
    """Trains from scratch, or from the newest intact state in `folder`.

    Args:
        model: The model.
        batches: Gives the clips of a step.
        settings: How to train.
        folder: Where states are saved and looked for.
        mean: Batches that are uint8 are normalised with this mean and `std` of pixel values / 255.
        std: See `mean`.
        on_start: Called with the number of steps that were done before.
        on_step: Called with the number of steps done and the metrics averaged since the last call; "data_wait" is the
            share of that time in which the next batch was waited for, the most that the devices can have waited.

    Returns:
        The trained parameters.

    Raises:
        UserError: A batch size that does not divide over the devices, or states of which none can be used.
    """
    settings.rows_per_device(jax.device_count())
    video = jnp.zeros((1, *model.input_shape), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(settings.seed), video)["params"]
    state = restore_state(folder, create_state(params, settings))
    first = int(state.step)
    on_start(first)
    train_step = DevicesStep(create_device_step(model, settings, mean, std))
    state = train_step.replicate(state)

    waiting: list[dict] = []
    since, waited_s = time.monotonic(), 0.0
    for step, batch, batch_wait_s in _prefetched(batches, first, settings):
        waited_s += batch_wait_s
        state, metrics = train_step(state, train_step.shard(batch))
        waiting.append(train_step.one_of(metrics))
        if len(waiting) > 1:
            # Waiting for the step before the last keeps at most two in flight.
            jax.block_until_ready(waiting[-2])
        done = step + 1
        if done % settings.log_every == 0 or done == settings.steps:
            metrics, now = _averages(waiting), time.monotonic()
            on_step(done, {**metrics, "data_wait": waited_s / (now - since)})
            waiting, since, waited_s = [], now, 0.0
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            save_state(folder, train_step.one_of(state))
    return jax.tree.map(np.asarray, train_step.one_of(state).result)


def _prefetched(batches: BatchSource, first: int, settings: TrainingSettings) -> Iterator[tuple[int, Any, float]]:
    """Prepares the next batch in a thread while the devices work on this one; says the seconds it was waited for."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(batches, first, settings.batch_size)
        for step in range(first, settings.steps):
            asked = time.monotonic()
            batch = following.result()
            waited_s = time.monotonic() - asked
            if step + 1 < settings.steps:
                following = pool.submit(batches, step + 1, settings.batch_size)
            yield step, batch, waited_s


def _averages(metrics: list[dict]) -> dict[str, float]:
    host = jax.device_get(metrics)
    return {name: float(np.mean([entry[name] for entry in host])) for name in host[0]}
