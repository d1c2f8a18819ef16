"""The training loop: one batch after the other, for one model or several, continuing after a stop."""

import concurrent.futures
import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Training:
    """One of the trainings that see the same clips.

    Attributes:
        models: The model; several, which differ in their reduction alone, take turns from step to step.
        states: Where states are saved and looked for.
        params: What it begins with, if there are none.
        on_start: Called with the number of steps that were done before.
        on_step: Called with the number of steps done and what happened since the last call: the metrics' averages,
            "clips_per_s", and "data_wait", the share of the time in which the next batch was waited for, which is the
            most that the devices can have waited.
        evaluate: Called after every step that is saved, with the number of steps done and the weights; its score, if
            it has one, decides which state is kept as the best.
    """

    models: Sequence[VideoClassifier]
    states: States
    params: Any
    on_start: Callable[[int], None] = lambda step: None
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None
    evaluate: Callable[[int, Any], float | None] = lambda step, params: None


def train(
    trainings: Sequence[Training],
    batches: BatchSource,
    settings: TrainingSettings,
    *,
    backend: str = "pmap",
    mean: RGB = HALF,
    std: RGB = HALF,
    told_to_stop: Callable[[], bool] = lambda: False,
) -> tuple[int, list[Any]]:
    """Trains from the newest intact states, or from the parameters that are given.

    Several trainings go step by step together, so that every batch is made once; their states are in memory at once.

    Args:
        trainings: What is trained.
        batches: Gives the clips.
        settings: How to train.
        backend: "pmap" or "shard_map".
        mean: Of the pixel values / 255 per colour, for frames that are uint8.
        std: The same for the standard deviation.
        told_to_stop: Asked before every step; all processes stop together if any is told to, and save their state.

    Returns:
        Steps done by all of them, and the weights of each: the average where `settings.ema` asks for one.

    Raises:
        UserError: A batch size that does not divide over the devices, or states that cannot be gone on from.
    """
    settings.rows_per_device(jax.device_count())
    running = [_Running(training, settings, backend, mean, std) for training in trainings]

    def load(step: int) -> Any:
        batch = tuple(batches(step, settings.batch_size))
        return running[0].shard((*batch, np.full(len(batch[0]), told_to_stop())))

    first = min(one.done for one in running)
    for step, batch, wait_s in _ahead(load, first, settings.steps):
        # Some may be ahead where the process was killed while states were written.
        if any([one.advance(batch, wait_s) for one in running if one.done == step]):
            break
    for one in running:
        one.states.wait()
    return min(one.done for one in running), [one.weights for one in running]


class _Running:
    """A training between its steps; `done` says how many it has behind it."""

    def __init__(self, training: Training, settings: TrainingSettings, backend: str, mean: RGB, std: RGB):
        self._training, self._settings = training, settings
        self.states = training.states
        state = self.states.restore(create_state(training.params, settings))
        self.done = int(state.step)
        training.on_start(self.done)
        self._steps = [
            DevicesStep(create_device_step(model, settings, mean, std), backend) for model in training.models
        ]
        self._state = self._steps[0].replicate(state)
        self._metrics: list[dict[str, jax.Array]] = []
        self._before: dict[str, jax.Array] | None = None
        self._waited_s, self._since = 0.0, time.monotonic()

    def shard(self, batch: Any) -> Any:
        """Gives each device its part of a batch."""
        return self._steps[0].shard(batch)

    @property
    def weights(self) -> Any:
        """The weights, in the host's memory."""
        return jax.tree.map(np.asarray, self._one_state().result)

    def advance(self, batch: Any, wait_s: float) -> bool:
        """Does a step, after waiting so long for its batch; says whether any process was told to stop."""
        settings, train_step = self._settings, self._steps[self.done % len(self._steps)]
        self._waited_s += wait_s
        self._state, latest = train_step(self._state, batch)
        self._metrics.append(train_step.one_of(latest))
        self.done += 1
        # Waiting for the step before this one keeps two in flight.
        stopped = self._before is not None and bool(self._before["stop"])
        self._before = self._metrics[-1]
        ends = self.done == settings.steps or stopped
        if ends or self.done % settings.log_every == 0:
            self._report()
        if ends or self.done % settings.checkpoint_every == 0:
            state = self._one_state()
            self.states.save(state, None if stopped else self._training.evaluate(self.done, state.result))
            self._since = time.monotonic()
        return stopped

    def _report(self) -> None:
        averages, now = _averages(self._metrics), time.monotonic()
        seconds = now - self._since
        rate, share = len(self._metrics) * self._settings.batch_size / seconds, self._waited_s / seconds
        self._training.on_step(self.done, {**averages, "clips_per_s": rate, "data_wait": share})
        self._metrics, self._since, self._waited_s = [], now, 0.0

    def _one_state(self) -> TrainState:
        return self._steps[0].one_of(self._state)


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
