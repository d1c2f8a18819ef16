"""Evaluates models on clips in which tubelets of another video are spliced, and counts what merges across."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Shaped

from jax_vtm.data import Batch, Failure
from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.errors import UserError
from jax_vtm.evaluation.data_parallel import DataParallel, DeviceStep
from jax_vtm.evaluation.evaluator import Candidate
from jax_vtm.evaluation.mixing import Mixing, mixing
from jax_vtm.evaluation.step import by_head, head_names, map_views, normaliser
from jax_vtm.models import FactorisedTrace, Trace, VideoClassifier, groups_per_layer
from jax_vtm.studies.splicing import splice

# The clips as they are; the others are called by the kind of their donors.
UNSPLICED = "unspliced"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spliced:
    """What one candidate makes of one kind of clips.

    Attributes:
        logits: Per head, per view.
        mixing: Counts after every layer, [n, layers], those of all views together; the parts are host and donor, in
            unspliced clips the same tubelets.
    """

    logits: Mapping[str, Float32[np.ndarray, "n V _"]]
    mixing: Mixing


@dataclasses.dataclass(frozen=True)
class SpliceEvaluation:
    """The `n` videos that could be read, and their donors too.

    Attributes:
        ids: Their ids, in the source's order.
        indices: Their numbers in the source.
        labels: Their classes, per head.
        donor_ids: By the kind of donor.
        donor_labels: Likewise, per head.
        spliced: By kind of clips, `UNSPLICED` being one, and candidate.
        failures: Videos that could not be read, or whose donor could not.
    """

    ids: Shaped[np.ndarray, " n"]
    indices: Int[np.ndarray, " n"]
    labels: dict[str, Int[np.ndarray, " n"]]
    donor_ids: dict[str, Shaped[np.ndarray, " n"]]
    donor_labels: dict[str, dict[str, Int[np.ndarray, " n"]]]
    spliced: dict[tuple[str, str], Spliced]
    failures: list[Failure]


def evaluate_splices(
    candidates: Sequence[Candidate],
    hosts: Iterable[Batch],
    donors: Mapping[str, Iterable[Batch]],
    starts: Int[np.ndarray, " n"],
    length: int,
    *,
    random_seed: int = 0,
    mean: RGB = HALF,
    std: RGB = HALF,
    backend: str = "pmap",
    clips_at_once: int = 0,
    on_batch: Callable[[int], None] = lambda videos: None,
) -> SpliceEvaluation:
    """Runs every candidate on the clips as they are, and with each kind of donor.

    Args:
        candidates: The models, of the same clips and tubelets.
        hosts: Batches of the videos.
        donors: By kind, batches with each video's donor in its place.
        starts: First tubelet of the splice of every video of the source.
        length: Tubelets of a splice.
        random_seed: For the random reductions.
        mean: For the normalisation, as for `evaluate`.
        std: Likewise.
        backend: How a step runs on all devices, "pmap" or "shard_map".
        clips_at_once: As for `evaluate`.
        on_batch: Called after every batch with the number of its videos.

    Raises:
        UserError: The model does not see whole tubelets, or no video could be read.
    """
    model = candidates[0].model
    if getattr(model, "num_sampled_frames", None) is not None:
        raise UserError("the model samples single frames out of a clip (num_sampled_frames); splices are of tubelets.")
    depth = model.patch_size[0]
    parallel = DataParallel(backend)
    shared = {id(candidate.params): candidate.params for candidate in candidates}
    replicated = {key: parallel.replicate(params) for key, params in shared.items()}
    steps = {
        c.name: parallel.compiled(create_splice_step(c.model, random_seed, length, clips_at_once)) for c in candidates
    }
    normalise, heads = normaliser(mean, std), head_names(model)
    done: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for host, *given in zip(hosts, *donors.values(), strict=True):
        of_donors = dict(zip(donors, given, strict=True))
        failures += _failures(host, given)
        mask = np.logical_and.reduce([host.mask, *(batch.mask for batch in given)])
        if mask.any():
            where = np.where(host.indices < 0, 0, starts[host.indices])
            clips = {kind: splice(host.frames, batch.frames, where, length, depth) for kind, batch in of_donors.items()}
            spliced = {}
            for kind, frames in ({UNSPLICED: host.frames} | clips).items():
                views, *others = parallel.shard((frames, where.astype(np.int32), host.indices))
                for candidate in candidates:
                    found = steps[candidate.name](replicated[id(candidate.params)], normalise(views), *others)
                    found = jax.tree.map(lambda leaf, mask=mask: parallel.gather(leaf)[mask], found)
                    mixed = jax.tree.map(lambda leaf: leaf.sum(axis=1), found["mixing"])
                    spliced[kind, candidate.name] = Spliced(found["logits"], mixed)
            labelled = [head for head in heads if head in host.labels]
            done.append(
                {
                    "ids": np.asarray(host.ids)[mask],
                    "indices": host.indices[mask],
                    "labels": {head: host.labels[head][mask] for head in labelled},
                    "donor_ids": {kind: np.asarray(batch.ids)[mask] for kind, batch in of_donors.items()},
                    "donor_labels": {
                        kind: {head: batch.labels[head][mask] for head in labelled} for kind, batch in of_donors.items()
                    },
                    "spliced": spliced,
                }
            )
        on_batch(int(np.sum(host.indices >= 0)))
    if not done:
        first = failures[0]
        raise UserError(f"no video could be read together with its donors; the first is {first.id}: {first.reason}")
    return SpliceEvaluation(**_concatenate(done), failures=failures)


@functools.cache
def create_splice_step(
    model: VideoClassifier, random_seed: int = 0, length: int = 1, clips_at_once: int = 0
) -> DeviceStep:
    """Returns the step of a model for one device.

    It maps (params, views [B, V, T, H, W, 3], starts [B], indices [B]) to {"logits": {head: [B, V, K]}, "mixing":
    `Mixing` of [B, V, layers]}.
    """
    times, height, width = model.grid
    per_time = height * width
    time = jnp.arange(times * per_time) // per_time
    part_sizes = [(times - length) * per_time, length * per_time]

    def step(params, views, starts, indices):
        of_donor = (time >= starts[:, None]) & (time < starts[:, None] + length)
        part = jnp.broadcast_to(of_donor[:, None].astype(jnp.int32), (*views.shape[:2], len(time)))

        def apply(clips_and_part, rngs):
            clips, part = clips_and_part
            traced = model.apply({"params": params}, clips, trace=True, rngs=rngs)
            logits, trace = cast(tuple[Any, Trace | FactorisedTrace], traced)
            layers = [
                mixing(groups, part, num_groups=count, part_sizes=part_sizes)
                for groups, count in groups_per_layer(trace, class_token=model.has_class_token)
            ]
            logits = {head: leaf.astype(jnp.float32) for head, leaf in by_head(logits).items()}
            return {"logits": logits, "mixing": jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), *layers)}

        seed = random_seed if model.reduction.is_random else None
        return map_views(apply, (views, part), indices, seed, clips_at_once)

    return step


def _failures(host: Batch, given: Sequence[Batch]) -> list[Failure]:
    """Failures of the hosts, and of hosts whose donors have failed."""
    failures = list(host.failures)
    failed = {failure.id for failure in failures}
    for batch in given:
        reasons = {failure.id: failure.reason for failure in batch.failures}
        for place, index in enumerate(batch.indices.tolist()):
            if index >= 0 and not batch.mask[place] and host.ids[place] not in failed:
                donor = batch.ids[place]
                failures.append(Failure(host.ids[place], f"its donor {donor} could not be read: {reasons[donor]}"))
                failed.add(host.ids[place])
    return failures


def _concatenate(parts: Sequence[Any]) -> Any:
    """Joins what batches have found, all along their first axis; `jax.tree` would sort the keys of dictionaries."""
    if isinstance(parts[0], dict):
        return {key: _concatenate([part[key] for part in parts]) for key in parts[0]}
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
