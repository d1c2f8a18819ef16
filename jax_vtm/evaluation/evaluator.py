"""Evaluates several models on one pass over the videos."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from jax_vtm.data import Batch
from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.errors import UserError
from jax_vtm.evaluation.batch_result import BatchResult, Evaluation, concatenate
from jax_vtm.evaluation.data_parallel import DataParallel, Program
from jax_vtm.evaluation.in_flight import StepsInFlight
from jax_vtm.evaluation.step import create_eval_step, head_names
from jax_vtm.models import VideoClassifier
from jax_vtm.models.patch_embedding import folded


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the models to evaluate.

    Attributes:
        name: What the results call it.
        model: The model.
        params: Its parameters; variants that share the object share the devices' copy.
    """

    name: str
    model: VideoClassifier
    params: Any


def evaluate(
    variants: Sequence[Variant],
    batches: Iterable[Batch],
    *,
    random_seed: int = 0,
    mean: RGB = HALF,
    std: RGB = HALF,
    clips_at_once: int = 0,
    parallel: DataParallel | None = None,
    compiling: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
    on_batch: Callable[[BatchResult], None] = lambda result: None,
) -> Evaluation:
    """Runs every variant on every batch, one after the other, so that their times compare.

    On GPUs and TPUs the next step is dispatched before the results of the last one are fetched and given to
    `on_batch`; on a CPU each step is waited for. A step's time is from the end of the one before to its own. While the
    steps of one batch run, a thread takes the next batch and copies it to the devices.

    Args:
        variants: The models, which must have the same heads.
        batches: Batches of equal size, a multiple of the number of local devices; masked places do not count.
        random_seed: For the random reductions.
        mean: Of the pixel values / 255 per colour, for their normalisation, which happens on the devices.
        std: The same for the standard deviation.
        clips_at_once: Clips that go through the model at a time on each device, as for `create_eval_step`.
        parallel: The devices, and how steps are spread over them; None takes all local ones, by `pmap`.
        compiling: Makes the context in which a variant is compiled, from words that say so.
        on_batch: Called after every batch with its result, in order.

    Raises:
        UserError: A batch size that does not divide over the devices, or labels out of range.
    """
    parallel = parallel or DataParallel()
    heads = head_names(variants[0].model)
    shared = {id(variant.params): variant.params for variant in variants}
    replicated = {key: parallel.replicate(params) for key, params in shared.items()}
    programs = [
        (
            variant.name,
            parallel.compiled(create_eval_step(variant.model, random_seed, clips_at_once, mean, std)),
            replicated[id(variant.params)],
        )
        for variant in variants
    ]
    results: list[BatchResult] = []
    began = time.perf_counter()
    with contextlib.closing(_run(programs, batches, heads, parallel, compiling)) as finished:
        for one in finished:
            now = time.perf_counter()
            result = one.result(f"{len(parallel.devices)} x {parallel.devices[0].device_kind}", now - began)
            began = now
            results.append(result)
            on_batch(result)
    return concatenate([variant.name for variant in variants], results)


@dataclasses.dataclass(frozen=True)
class _Started:
    """A batch, its labels of heads that the model has, how long devices waited for it, and by variant its steps."""

    batch: Batch
    labels: Mapping[str, np.ndarray]
    waited_s: float
    steps: dict[str, Future[tuple[dict[str, np.ndarray], float]]] = dataclasses.field(default_factory=dict)
    compile_s: dict[str, float] = dataclasses.field(default_factory=dict)

    def result(self, devices: str, since_last_s: float) -> BatchResult:
        batch = self.batch
        failed = [int(index) for index, read in zip(batch.indices, batch.mask, strict=True) if index >= 0 and not read]
        ended = {name: step.result() for name, step in self.steps.items()}
        return BatchResult(
            indices=batch.indices[batch.mask],
            ids=tuple(np.asarray(batch.ids)[batch.mask].tolist()),
            labels={head: labels[batch.mask] for head, labels in self.labels.items()},
            failures=dict(zip(failed, batch.failures, strict=True)),
            logits={name: {head: rows[batch.mask] for head, rows in one.items()} for name, (one, _) in ended.items()},
            step_s={name: seconds for name, (_, seconds) in ended.items()},
            compile_s=self.compile_s,
            wall_s=since_last_s - sum(self.compile_s.values()),
            data_wait_s=self.waited_s,
            batch_size=len(batch.mask),
            devices=devices,
        )


def _run(
    programs: Sequence[tuple[str, Program, Any]],
    batches: Iterable[Batch],
    heads: Mapping[str, int],
    parallel: DataParallel,
    compiling: Callable[[str], AbstractContextManager[object]],
) -> Generator[_Started, None, None]:
    """Starts the steps of every batch, and yields each batch, in order, once its steps have ended.

    What goes wrong is raised after the batches before it.
    """
    steps: dict[str, Callable[..., Any]] = {}
    started: collections.deque[_Started] = collections.deque()

    def ended(*, wait: bool = False) -> Iterator[_Started]:
        while started and (wait or all(step.done() for step in started[0].steps.values())):
            yield started.popleft()

    fetch = _fetcher(batches, parallel)
    with (
        # Leaving an executor waits for its thread.
        concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="prefetch") as prefetch,
        StepsInFlight(parallel.steps_in_flight, lambda logits: jax.tree.map(parallel.gather, logits)) as in_flight,
    ):
        fetching = prefetch.submit(fetch)
        try:
            while True:
                asked = time.perf_counter()
                while not fetching.done() and in_flight.first:
                    in_flight.wait_unless(fetching)
                    yield from ended()
                fetched = fetching.result()
                if fetched is None:
                    break
                batch, given = fetched
                fetching = prefetch.submit(fetch)
                idle_s = 0.0 if in_flight.first else time.perf_counter() - max(asked, in_flight.ended)
                one = _Started(batch, {head: batch.labels[head] for head in heads if head in batch.labels}, idle_s)
                _check_labels(batch, one.labels, heads)
                # A batch of failures alone needs no step.
                for name, program, params in programs if given else ():
                    arguments = (params, *given)
                    if name not in steps:
                        in_flight.wait()
                        yield from ended()
                        with compiling(f"compiling {len(steps) + 1} of {len(programs)} programs: {name}"):
                            steps[name], one.compile_s[name] = _call_timed(program.compiled_for, (arguments,))
                            # The first call is repeated below, so that its time is that of a step.
                            one.compile_s[name] += _call_timed(steps[name], arguments)[1]
                    one.steps[name] = in_flight.start(steps[name], arguments)
                    yield from ended()
                started.append(one)
                yield from ended()
        except Exception:
            yield from ended(wait=True)
            raise
        yield from ended(wait=True)


def _fetcher(batches: Iterable[Batch], parallel: DataParallel) -> Callable[[], tuple[Batch, Any] | None]:
    """Returns what copies the next batch to the devices.

    It returns the batch, and what a step takes after the parameters, None if no video could be read; None at the end.
    """
    iterator = iter(batches)

    def fetch() -> tuple[Batch, Any] | None:
        batch = next(iterator, None)
        if batch is None or not batch.mask.any():
            return None if batch is None else (batch, None)
        rows = batch.frames.reshape(folded(batch.frames.shape))
        # Otherwise a copy that is still under way would count for the step.
        return batch, jax.block_until_ready(parallel.shard((rows, batch.indices)))

    return fetch


def _call_timed(step, arguments) -> tuple[Any, float]:
    start = time.perf_counter()
    values = jax.block_until_ready(step(*arguments))
    return values, time.perf_counter() - start


def _check_labels(batch: Batch, labels: Mapping[str, np.ndarray], heads: Mapping[str, int]) -> None:
    for head, values in labels.items():
        wrong = batch.mask & ((values < 0) | (values >= heads[head]))
        if wrong.any():
            place = int(np.argmax(wrong))
            raise UserError(
                f"{batch.ids[place]}: the label {int(values[place])} of {head!r} is not a class of the model, which "
                f"has 0 to {heads[head] - 1}."
            )
