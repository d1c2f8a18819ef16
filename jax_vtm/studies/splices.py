"""The study of splices: evaluates clips with tubelets of another video, and counts groups with tokens of both."""

import contextlib
import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Int

from jax_vtm.config import Config
from jax_vtm.data import Batch, Failure, Rearranged, VideoError, VideoSource, batches, load_frames
from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.errors import UserError
from jax_vtm.evaluation import BatchResult, Processes, ResumeState, build
from jax_vtm.evaluation.data_parallel import DataParallel, DeviceStep
from jax_vtm.evaluation.evaluator import Variant
from jax_vtm.evaluation.progress import Progress, waiting
from jax_vtm.evaluation.step import by_head, head_names, map_views, pixels
from jax_vtm.files import AnyPath
from jax_vtm.models import FactorisedTrace, Trace, VideoClassifier, groups_per_layer
from jax_vtm.models.patch_embedding import folded
from jax_vtm.reports import Page
from jax_vtm.reports.merged_tokens import merged_tokens
from jax_vtm.studies.mixing import Mixing, mixing
from jax_vtm.studies.splices_page import layer_table, splices_headline, splices_page
from jax_vtm.studies.splices_results import UNSPLICED, Spliced, SpliceEvaluation, class_name, summarise, video_table
from jax_vtm.studies.splicing import DONOR_KINDS, choose_donors, choose_starts, splice


def study_splices(
    config: Config, workdir: AnyPath, folder: AnyPath
) -> tuple[dict[str, Any], Page, str, dict[str, str]]:
    """Evaluates the original and the spliced clips.

    Returns:
        The results, their page, its headline, and tables by file name.
    """
    keys = config.study
    kinds = _kinds(keys.donors)
    variants = build.load_variants(config)
    if len(variants) == 1:
        raise UserError("config.reduction.mode is 'none'; expected one that reduces: a splice shows what merges.")
    model = variants[0].model
    protocol, source = build.protocol(config, model), build.videos(config, model)
    times, depth = model.grid[0], model.patch_size[0]
    length = keys.tubelets or times // 2
    if not 0 < length < times:
        raise UserError(f"config.study.tubelets is {length}; expected 1 to {times - 1}, or 0 for half of {times}.")
    starts = choose_starts(len(source), times, length, config.seed)
    classes = _classes(source, keys.head, kinds)
    donors = {kind: choose_donors(classes, kind, config.seed) for kind in kinds}
    batch_size = build.videos_per_device(config, variants[0], protocol) * jax.local_device_count()

    def loaded(videos: VideoSource) -> Iterable[Batch]:
        options = {"num_threads": config.data.num_threads, "num_workers": config.data.num_workers}
        return batches(videos, protocol, batch_size, indices=left, prefetch=2 * batch_size, **options)

    began = time.perf_counter()
    settings = {"what": "splices", "donors": kinds, "head": keys.head, "tubelets": length}
    fingerprint = build.fingerprint(config, source, protocol) | {f"study.{key}": v for key, v in settings.items()}
    # A study of other splices in the same workdir leaves these batches alone.
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    with (
        Processes(config.host_timeout_s) as processes,
        ResumeState(folder / "resume" / digest, fingerprint, restart=config.restart) as state,
        Progress(len(source), "videos", start=len(state.done)) as progress,
        contextlib.ExitStack() as first_batch,
    ):
        left = [index for index in range(len(source)) if index not in state.done]
        if state.done:
            print(f"continuing: {len(state.done)} videos are evaluated already, {len(left)} are to do", file=sys.stderr)
        first_batch.enter_context(waiting("compiling, and the first videos"))

        def on_batch(result: BatchResult) -> None:
            first_batch.close()
            state.add(result)
            progress.advance(result.num_videos)
            processes.check_stop()

        found = evaluate_splices(
            variants,
            loaded(source),
            # A video that cannot be read is its own donor, and fails again.
            {
                kind: loaded(Rearranged(source, np.where(numbers < 0, np.arange(len(numbers)), numbers).tolist()))
                for kind, numbers in donors.items()
            },
            starts,
            length,
            random_seed=config.seed,
            mean=protocol.mean,
            std=protocol.std,
            backend=config.backend,
            clips_at_once=config.data.clips_at_once,
            before=state.results,
            on_batch=on_batch,
        )
    results = summarise(config, variants, found, source, protocol, length)
    results["measured"]["wall_s"] = time.perf_counter() - began
    # A picture of the first video, its donor and the splice.
    host = int(found.indices[0])
    numbers, start = [host, int(donors[kinds[-1]][host]), host], starts[host]
    ours, theirs = (load_frames(source[number], protocol)[None, :1] for number in numbers[:2])
    clips = np.concatenate([ours, theirs, splice(ours, theirs, starts[[host]], length, depth)])[:, 0]
    names = [source[number].id for number in numbers[:2]]
    names.append(f"the first with frames {depth * start + 1} to {depth * (start + length)} of the second")
    picture = merged_tokens(variants[-1], protocol, names, numbers, protocol.normalise(clips), config.seed)
    tables = {"videos.csv": video_table(found, starts, source.class_names), "layers.csv": layer_table(results).csv()}
    return results, splices_page(results, picture), splices_headline(results), tables


def _kinds(given: Any) -> list[str]:
    entries = [given] if isinstance(given, str) else list(given)
    kinds = list(dict.fromkeys(word.strip() for entry in entries for word in str(entry).split(",") if word.strip()))
    unknown = [kind for kind in kinds if kind not in DONOR_KINDS]
    if unknown or not kinds:
        found = repr(unknown[0]) if unknown else "empty"
        raise UserError(f"config.study.donors is {found}; expected one or more of {', '.join(DONOR_KINDS)}.")
    return kinds


def _classes(source: VideoSource, head: str, kinds: Sequence[str]) -> list[str | None]:
    """Returns the class of every video in words; None if it cannot be read."""
    if head and head not in source.heads:
        heads = f"its heads are {', '.join(source.heads)}" if source.heads else "the videos have no labels"
        raise UserError(f"config.study.head is {head!r}; {heads}.")
    if not source.heads and set(kinds) != {"random"}:
        raise UserError(
            "the videos have no labels, which donors of the same or another class need; expected "
            "--config.study.donors=random."
        )
    heads = [head] if head else source.heads
    classes: list[str | None] = []
    for index in range(len(source)):
        try:
            labels = source[index].labels
        except VideoError:
            classes.append(None)
        else:
            classes.append(", ".join(f"{name} {class_name(name, labels[name], source.class_names)}" for name in heads))
    return classes


def evaluate_splices(
    variants: Sequence[Variant],
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
    before: Sequence[BatchResult] = (),
    on_batch: Callable[[BatchResult], None] = lambda result: None,
) -> SpliceEvaluation:
    """Runs every variant on the original clips, and on splices with each kind of donor.

    Args:
        variants: Models with the same input and tubelets.
        hosts: Batches of the videos.
        donors: By kind, batches of the videos' donors.
        starts: First spliced tubelet of every video of the source.
        length: Tubelets of a splice.
        random_seed: As for `evaluate`.
        mean: As for `evaluate`.
        std: As for `evaluate`.
        backend: As for `evaluate`.
        clips_at_once: As for `evaluate`.
        before: Results of earlier starts, of other videos.
        on_batch: Called after every batch with its result, whose `details` are what a `SpliceEvaluation` has more.

    Raises:
        UserError: The model samples single frames, or no video could be read.
    """
    model = variants[0].model
    if getattr(model, "num_sampled_frames", None) is not None:
        raise UserError("the model samples single frames out of a clip (num_sampled_frames); splices are of tubelets.")
    depth = model.patch_size[0]
    parallel = DataParallel(backend)
    shared = {id(variant.params): variant.params for variant in variants}
    replicated = {key: parallel.replicate(params) for key, params in shared.items()}
    steps = {
        one.name: parallel.compiled(create_splice_step(one.model, random_seed, length, clips_at_once, mean, std))
        for one in variants
    }
    heads = head_names(model)
    results = [*before]
    for host, *given in zip(hosts, *donors.values(), strict=True):
        of_donors = dict(zip(donors, given, strict=True))
        details: Any = {}
        mask = np.logical_and.reduce([host.mask, *(batch.mask for batch in given)])
        if mask.any():
            where = np.where(host.indices < 0, 0, starts[host.indices])
            clips = {kind: splice(host.frames, batch.frames, where, length, depth) for kind, batch in of_donors.items()}
            logits, mixed = details["logits"], details["mixing"] = {}, {}
            for kind, frames in ({UNSPLICED: host.frames} | clips).items():
                rows = frames.reshape(folded(frames.shape))
                arguments = parallel.shard((rows, where.astype(np.int32), host.indices))
                for one in variants:
                    found = steps[one.name](replicated[id(one.params)], *arguments)
                    found = jax.tree.map(lambda leaf, mask=mask: parallel.gather(leaf)[mask], found)
                    logits.setdefault(kind, {})[one.name] = found["logits"]
                    mixed.setdefault(kind, {})[one.name] = jax.tree.map(lambda leaf: leaf.sum(1), vars(found["mixing"]))
            details["donor_ids"] = {kind: np.asarray(batch.ids)[mask] for kind, batch in of_donors.items()}
            details["donor_labels"] = {
                kind: {head: batch.labels[head][mask] for head in heads if head in host.labels}
                for kind, batch in of_donors.items()
            }
        result = BatchResult(
            indices=host.indices[mask],
            ids=tuple(np.asarray(host.ids)[mask].tolist()),
            labels={head: host.labels[head][mask] for head in heads if head in host.labels},
            failures=_failures(host, given),
            logits={},
            step_s={},
            compile_s={},
            wall_s=0.0,
            data_wait_s=0.0,
            batch_size=len(mask),
            devices="",
            details=cast(Any, flatten_dict(details)),
        )
        results.append(result)
        on_batch(result)
    return _joined(results)


@functools.cache
def create_splice_step(
    model: VideoClassifier,
    random_seed: int = 0,
    length: int = 1,
    clips_at_once: int = 0,
    mean: RGB = HALF,
    std: RGB = HALF,
) -> DeviceStep:
    """Returns a device's step: (params, frames, starts [B], indices [B]) to logits and mixing.

    Frames are [B, V, T, H, W * 3] from 0 to 255; the outputs are {"logits": {head: [B, V, K]}, "mixing": `Mixing` of
    [B, V, layers]}.
    """
    times, height, width = model.grid
    per_time = height * width
    time_of_token = jnp.arange(times * per_time) // per_time
    part_sizes = [(times - length) * per_time, length * per_time]

    def step(params, frames, starts, indices):
        of_donor = (time_of_token >= starts[:, None]) & (time_of_token < starts[:, None] + length)
        part = jnp.broadcast_to(of_donor[:, None].astype(jnp.int32), (*frames.shape[:2], len(time_of_token)))

        def apply(clips_and_part, rngs):
            clips, part = clips_and_part
            traced = model.apply({"params": params}, pixels(clips, mean, std), trace=True, rngs=rngs)
            logits, trace = cast(tuple[Any, Trace | FactorisedTrace], traced)
            layers = [
                mixing(groups, part, num_groups=count, part_sizes=part_sizes)
                for groups, count in groups_per_layer(trace, class_token=model.has_class_token)
            ]
            logits = {head: leaf.astype(jnp.float32) for head, leaf in by_head(logits).items()}
            return {"logits": logits, "mixing": jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), *layers)}

        seed = random_seed if model.reduction.draws else None
        return map_views(apply, (frames, part), indices, seed, clips_at_once)

    return step


def _failures(host: Batch, given: Sequence[Batch]) -> dict[int, Failure]:
    """Returns the failures of hosts, and of hosts whose donor failed, by the host's number."""
    failed = [int(index) for index, read in zip(host.indices, host.mask, strict=True) if index >= 0 and not read]
    failures = dict(zip(failed, host.failures, strict=True))
    for batch in given:
        reasons = {failure.id: failure.reason for failure in batch.failures}
        for place, index in enumerate(batch.indices.tolist()):
            if index >= 0 and not batch.mask[place] and index not in failures:
                donor = batch.ids[place]
                failures[index] = Failure(host.ids[place], f"its donor {donor} could not be read: {reasons[donor]}")
    return failures


def _joined(results: Sequence[BatchResult]) -> SpliceEvaluation:
    """Joins batches in the source's order.

    Raises:
        UserError: No video could be read.
    """
    read = [result for result in results if len(result.indices)]
    failures = {number: failure for result in results for number, failure in result.failures.items()}
    if not read:
        first = failures[min(failures)]
        raise UserError(f"no video could be read together with its donors; the first is {first.id}: {first.reason}")
    indices, order = np.unique(np.concatenate([result.indices for result in read]), return_index=True)

    def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(parts))[order]

    details = unflatten_dict({key: joined(result.details[key] for result in read) for key in read[0].details})
    donor_ids, mixed = details.get("donor_ids", {}), details["mixing"]
    return SpliceEvaluation(
        ids=joined(np.asarray(result.ids) for result in read),
        indices=indices,
        labels={head: joined(result.labels[head] for result in read) for head in read[0].labels},
        donor_ids=donor_ids,
        donor_labels={kind: details.get("donor_labels", {}).get(kind, {}) for kind in donor_ids},
        spliced={
            (kind, run): Spliced(logits, Mixing(**mixed[kind][run]))
            for kind, runs in details["logits"].items()
            for run, logits in runs.items()
        },
        failures=[failures[number] for number in sorted(failures.keys() - set(indices.tolist()))],
    )
