"""Evaluates several models on one pass over the videos."""

import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from jax_vtm.data import Batch
from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.errors import UserError
from jax_vtm.evaluation.batch_result import BatchResult, Evaluation, concatenate
from jax_vtm.evaluation.data_parallel import DataParallel
from jax_vtm.evaluation.step import create_eval_step, head_names, normaliser
from jax_vtm.models import VideoClassifier


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
    backend: str = "pmap",
    clips_at_once: int = 0,
    devices: Sequence[Any] | None = None,
    compiling: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
    on_batch: Callable[[BatchResult], None] = lambda result: None,
) -> Evaluation:
    """Runs every variant on every batch, one after the other, so that their times compare.

    Each step is waited for before the next starts: never more than one is in flight, and each is timed by itself.
    While the steps of one batch run, a thread takes the next batch and copies it to the devices, which therefore hold
    two batches at a time.

    Args:
        variants: The models, which must have the same heads.
        batches: Batches of equal size, a multiple of the number of local devices; masked places do not count.
        random_seed: For the random reductions.
        mean: Of the pixel values / 255 per colour, for their normalisation, which happens on the devices.
        std: The same for the standard deviation.
        backend: How a step is spread over the devices: "pmap" or "shard_map".
        clips_at_once: Clips that go through the model at a time on each device, as for `create_eval_step`.
        devices: The `jax.Device`s to run on; None takes all local ones.
        compiling: Makes the context in which a variant is compiled, from words that say so.
        on_batch: Called after every batch with its result.

    Raises:
        UserError: A batch size that does not divide over the devices, labels out of range, or an unknown `backend`.
    """
    parallel = DataParallel(backend, devices)
    shared = {id(variant.params): variant.params for variant in variants}
    replicated = {key: parallel.replicate(params) for key, params in shared.items()}
    programs = {c.name: parallel.compiled(create_eval_step(c.model, random_seed, clips_at_once)) for c in variants}
    results: list[BatchResult] = []
    steps: dict[str, Callable[..., Any]] = {}
    began = time.perf_counter()

    heads = head_names(variants[0].model)

    for batch, given, waited_s in _ahead(batches, parallel, normaliser(mean, std)):
        labels = {head: batch.labels[head] for head in heads if head in batch.labels}
        _check_labels(batch, labels, heads)
        logits: dict[str, dict[str, np.ndarray]] = {}
        step_s: dict[str, float] = {}
        compile_s: dict[str, float] = {}
        # A batch of failures alone needs no step.
        for variant in variants if given else ():
            name = variant.name
            arguments = (replicated[id(variant.params)], *given)
            if name not in steps:
                with compiling(f"compiling {len(steps) + 1} of {len(variants)} programs: {name}"):
                    steps[name], compile_s[name] = _call_timed(programs[name].compiled_for, (arguments,))
                    # The first call is repeated below, so that its time is that of a step.
                    compile_s[name] += _call_timed(steps[name], arguments)[1]
            values, step_s[name] = _call_timed(steps[name], arguments)
            logits[name] = {head: parallel.gather(leaf)[batch.mask] for head, leaf in values.items()}
        now = time.perf_counter()
        failed = [int(index) for index, read in zip(batch.indices, batch.mask, strict=True) if index >= 0 and not read]
        result = BatchResult(
            indices=batch.indices[batch.mask],
            ids=tuple(np.asarray(batch.ids)[batch.mask].tolist()),
            labels={head: values[batch.mask] for head, values in labels.items()},
            failures=dict(zip(failed, batch.failures, strict=True)),
            logits=logits,
            step_s=step_s,
            compile_s=compile_s,
            wall_s=now - began - sum(compile_s.values()),
            data_wait_s=waited_s,
            batch_size=len(batch.mask),
            devices=f"{len(parallel.devices)} x {parallel.devices[0].device_kind}",
        )
        began = now
        results.append(result)
        on_batch(result)

    return concatenate([variant.name for variant in variants], results)


def _ahead(
    batches: Iterable[Batch], parallel: DataParallel, normalise: Callable[[jax.Array], jax.Array]
) -> Iterator[tuple[Batch, Any, float]]:
    """Copies every batch to the devices while the caller is busy with the one before.

    Yields:
        The batch; what a step takes after the parameters, None if no video could be read; and the seconds that the
        devices waited for it.
    """
    iterator = iter(batches)

    def fetch() -> tuple[Batch, Any] | None:
        batch = next(iterator, None)
        if batch is None or not batch.mask.any():
            return None if batch is None else (batch, None)
        frames, indices = parallel.shard((batch.frames, batch.indices))
        # Otherwise a copy that is still under way would count for the step.
        return batch, jax.block_until_ready((normalise(frames), indices))

    # Leaving the executor waits for its thread.
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        pending = thread.submit(fetch)
        while True:
            start = time.perf_counter()
            fetched = pending.result()
            if fetched is None:
                return
            pending = thread.submit(fetch)
            yield *fetched, time.perf_counter() - start


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
