"""The training loop: one batch after the other, continuing after a stop."""

import concurrent.futures
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.models import VideoClassifier
from jax_vtm.training.settings import TrainingSettings
from jax_vtm.training.states import States
from jax_vtm.training.step import DevicesStep, TrainState, create_device_step, create_state

# (step, clips of a step in all processes) -> this process's part of them: video [B, T, H, W, 3] (uint8, or normalised
# float32), labels {head: int [B]}, mask float32 [B], 0 for a padded clip. A function of the step alone, so that a
# continued run sees the same batches as an uninterrupted one.
BatchSource = Callable[[int, int], tuple[np.ndarray, Mapping[str, np.ndarray], np.ndarray]]


def train(
    models: Sequence[VideoClassifier],
    batches: BatchSource,
    settings: TrainingSettings,
    states: States,
    params: Any,
    *,
    backend: str = "pmap",
    mean: RGB = HALF,
    std: RGB = HALF,
    on_start: Callable[[int], None] = lambda step: None,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    evaluate: Callable[[int, Any], float | None] = lambda step, params: None,
    told_to_stop: Callable[[], bool] = lambda: False,
) -> tuple[int, Any]:
    """Trains from the newest intact state, or from the parameters that are given.

    Args:
        models: The model; several, which differ in their reduction alone, take turns from step to step.
        batches: Gives the clips.
        settings: How to train.
        states: Where states are saved and looked for.
        params: What a run begins with.
        backend: "pmap" or "shard_map".
        mean: Of the pixel values / 255 per colour, for frames that are uint8.
        std: The same for the standard deviation.
        on_start: Called with the number of steps that were done before.
        on_step: Called with the number of steps done and what happened since the last call: the metrics' averages,
            "clips_per_s", and "data_wait", the share of the time in which the next batch was waited for, which is the
            most that the devices can have waited.
        evaluate: Called after every step that is saved, with the number of steps done and the weights; its score, if
            it has one, decides which state is kept as the best.
        told_to_stop: Asked before every step; all processes stop together if any is told to, and save their state.

    Returns:
        Steps done, and the weights: the average where `settings.ema` asks for one.

    Raises:
        UserError: A batch size that does not divide over the devices, or states that cannot be gone on from.
    """
    settings.rows_per_device(jax.device_count())
    state = states.restore(create_state(params, settings))
    first = done = int(state.step)
    on_start(first)
    steps = [DevicesStep(create_device_step(model, settings, mean, std), backend) for model in models]
    state = steps[0].replicate(state)
    metrics: list[dict[str, jax.Array]] = []
    before: dict[str, jax.Array] | None = None
    stopped = False

    def save() -> None:
        state_here: TrainState = steps[0].one_of(state)
        states.save(state_here, evaluate(done, state_here.result) if not stopped else None)

    def load(step: int) -> Any:
        batch = tuple(batches(step, settings.batch_size))
        return steps[0].shard((*batch, np.full(len(batch[0]), told_to_stop())))

    waited_s, since = 0.0, time.monotonic()
    for step, batch, wait_s in _ahead(load, first, settings.steps):
        waited_s += wait_s
        train_step = steps[step % len(steps)]
        state, latest = train_step(state, batch)
        metrics.append(train_step.one_of(latest))
        done = step + 1
        # Waiting for the step before this one keeps two in flight.
        stopped = before is not None and bool(before["stop"])
        before = metrics[-1]
        if done % settings.log_every == 0 or done == settings.steps or stopped:
            averages, now = _averages(metrics), time.monotonic()
            rate, share = len(metrics) * settings.batch_size / (now - since), waited_s / (now - since)
            on_step(done, {**averages, "clips_per_s": rate, "data_wait": share})
            metrics, since, waited_s = [], now, 0.0
        if done % settings.checkpoint_every == 0 or done == settings.steps or stopped:
            save()
            since = time.monotonic()
        if stopped:
            break
    states.wait()
    return done, jax.tree.map(np.asarray, steps[0].one_of(state).result)


def _ahead(load: Callable[[int], Any], first: int, stop: int) -> Iterator[tuple[int, Any, float]]:
    """Loads the next batch in a thread while the devices work on this one; says how long it was waited for."""
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="training clips") as pool:
        following = pool.submit(load, first) if first < stop else None
        for step in range(first, stop):
            asked = time.monotonic()
            batch = following.result() if following else None
            waited_s = time.monotonic() - asked
            following = pool.submit(load, step + 1) if step + 1 < stop else None
            yield step, batch, waited_s


def _averages(metrics: list[dict[str, jax.Array]]) -> dict[str, float]:
    host = jax.device_get(metrics)
    return {name: float(np.mean([entry[name] for entry in host])) for name in host[0] if name != "stop"}
