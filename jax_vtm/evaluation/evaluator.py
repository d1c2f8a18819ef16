"""Evaluates several models side by side on one pass over the videos."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import jax_utils
from jaxtyping import Float, Int

from jax_vtm.data import Batch, Failure
from jax_vtm.errors import UserError
from jax_vtm.evaluation.step import create_eval_step, head_names
from jax_vtm.models import VideoClassifier


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One of the models to evaluate.

    Attributes:
        name: What the results call it.
        model: The model.
        params: Its parameters; candidates that share the object share the devices' copy.
    """

    name: str
    model: VideoClassifier
    params: Any


@dataclasses.dataclass
class Predictions:
    """What one candidate says of every video that could be read.

    Attributes:
        logits: Per head, per view.
        counts: Videos and right predictions, as the devices counted them.
        compile_s: Seconds of the first call, which compiles.
        step_s: Seconds of every further step.
    """

    logits: dict[str, Float[np.ndarray, "n V _"]]
    counts: dict[str, int]
    compile_s: float
    step_s: list[float]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of one pass.

    Attributes:
        ids: Videos that could be read, in the source's order.
        labels: Per labelled head.
        predictions: Per candidate's name.
        failures: Videos that could not be read, with the reason.
        batch_size: Videos per step, over all devices.
        views: Views per video.
        wall_s: Seconds of the whole pass, decoding included, compiling excluded.
    """

    ids: list[str]
    labels: dict[str, Int[np.ndarray, " n"]]
    predictions: dict[str, Predictions]
    failures: list[Failure]
    batch_size: int
    views: int
    wall_s: float


def evaluate(
    candidates: Sequence[Candidate],
    batches: Iterable[Batch],
    *,
    random_seed: int = 0,
    view_average: str = "logits",
    devices: Sequence[Any] | None = None,
    on_batch: Callable[[Batch, dict[str, dict[str, int]]], None] = lambda batch, counts: None,
) -> Evaluation:
    """Runs every candidate on every batch, one after the other, so that their times compare.

    Each step is waited for before the next starts: never more than one is in flight, and each is timed by itself.

    Args:
        candidates: The models, which must have the same heads.
        batches: Batches of equal size, a multiple of the number of local devices; masked places do not count.
        random_seed: For the random reductions.
        view_average: How the views of a video become the prediction that is counted, as for `combine_views`.
        devices: The `jax.Device`s to run on; None takes all local ones.
        on_batch: Called after every batch with it and with each candidate's counts so far.

    Raises:
        UserError: A batch size that does not divide over the devices, labels out of range, or an unknown
            `view_average`.
    """
    devices = tuple(devices or jax.local_devices())
    shared = {id(candidate.params): candidate.params for candidate in candidates}
    replicated = {key: jax_utils.replicate(params, devices) for key, params in shared.items()}
    steps = {c.name: create_eval_step(c.model, devices, random_seed, view_average) for c in candidates}
    predictions = {c.name: Predictions({}, {}, 0.0, []) for c in candidates}
    collected: dict[str, dict[str, list[np.ndarray]]] = {c.name: {} for c in candidates}
    ids: list[str] = []
    labels: dict[str, list[np.ndarray]] = {}
    failures: list[Failure] = []
    batch_size, views = 0, 0
    started, compiling = time.perf_counter(), 0.0

    for batch in batches:
        batch_size, views = batch.views.shape[:2]
        heads = head_names(candidates[0].model)
        known = {head: batch.labels[head] for head in heads if head in batch.labels}
        _check_labels(batch, known, heads)
        on_devices = _spread((batch.views, known, batch.mask, batch.indices), devices)
        for candidate in candidates:
            result = predictions[candidate.name]
            arguments = (replicated[id(candidate.params)], *on_devices)
            if not result.counts:
                # The first call traces and compiles; it is repeated below, so that its time is that of a step.
                result.compile_s = _timed(steps[candidate.name], arguments)[1]
                compiling += result.compile_s
            (logits, counts), seconds = _timed(steps[candidate.name], arguments)
            result.step_s.append(seconds)
            for name, value in counts.items():
                result.counts[name] = result.counts.get(name, 0) + int(value.addressable_shards[0].data[0])
            for head, values in logits.items():
                rows = np.asarray(values).reshape(batch_size, *values.shape[2:])
                collected[candidate.name].setdefault(head, []).append(rows[batch.mask])
        ids.extend(np.asarray(batch.ids)[batch.mask].tolist())
        for head, values in known.items():
            labels.setdefault(head, []).append(values[batch.mask])
        failures.extend(batch.failures)
        on_batch(batch, {name: result.counts for name, result in predictions.items()})

    for name, result in predictions.items():
        result.logits = {head: np.concatenate(parts) for head, parts in collected[name].items()}
    return Evaluation(
        ids=ids,
        labels={head: np.concatenate(parts) for head, parts in labels.items()},
        predictions=predictions,
        failures=failures,
        batch_size=batch_size,
        views=views,
        wall_s=time.perf_counter() - started - compiling,
    )


def _timed(step, arguments) -> tuple[Any, float]:
    start = time.perf_counter()
    outcome = jax.block_until_ready(step(*arguments))
    return outcome, time.perf_counter() - start


def _spread(tree: Any, devices: Sequence[Any]) -> Any:
    """Cuts the leading axis into one part per device and puts each part there."""

    def put(leaf: np.ndarray) -> jax.Array:
        if len(leaf) % len(devices):
            raise UserError(f"The batch of {len(leaf)} videos does not divide over {len(devices)} devices.")
        parts = leaf.reshape(len(devices), -1, *leaf.shape[1:])
        mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
        return jax.device_put(parts, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch")))

    return jax.tree.map(put, tree)


def _check_labels(batch: Batch, labels: Mapping[str, np.ndarray], heads: Mapping[str, int]) -> None:
    for head, values in labels.items():
        wrong = batch.mask & ((values < 0) | (values >= heads[head]))
        if wrong.any():
            place = int(np.argmax(wrong))
            raise UserError(
                f"{batch.ids[place]}: the label {int(values[place])} of {head!r} is not a class of the model, which "
                f"has 0 to {heads[head] - 1}."
            )
