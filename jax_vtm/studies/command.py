"""`python main.py study`: tubelets of another video in every clip: what merges across, whom the prediction follows."""

import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.config import Config
from jax_vtm.data import Rearranged, VideoError, VideoSource, batches, load_frames
from jax_vtm.errors import SUCCESS, TOO_MANY_FAILED, UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.progress import Progress
from jax_vtm.files import write_text
from jax_vtm.reports.merged_tokens import merged_tokens
from jax_vtm.studies.page import layer_table, splice_headline, splice_page
from jax_vtm.studies.results import class_name, summarise_splices, video_table
from jax_vtm.studies.splices import evaluate_splices
from jax_vtm.studies.splicing import DONOR_KINDS, choose_donors, choose_starts, splice

# In the workdir, where an evaluation of the same config may be.
FOLDER = "study"


def run(config: Config, workdir: pathlib.Path) -> int:
    """Evaluates the clips as they are and spliced, and writes the results to the workdir's folder `study`.

    Returns:
        The exit code.
    """
    keys = config.study
    if keys.what == "layers":
        raise UserError(
            "the study of layers is a sweep: python main.py sweep --config=configs/layer_duplication.py, or any other "
            'config with --config.sweep.one_layer.times="(4,)".'
        )
    if keys.what != "splice":
        raise UserError(f"config.study.what is {keys.what!r}; expected splice or layers.")
    kinds = _kinds(keys.donors)
    build.use_compilation_cache(config.compilation_cache)
    candidates = build.load_candidates(config)
    if len(candidates) == 1:
        raise UserError("config.reduction.mode is 'none'; expected one that reduces: a splice shows what merges.")
    model = candidates[0].model
    protocol = build.protocol(config, model)
    source = build.videos(config, model, workdir)
    times, depth = model.grid[0], model.patch_size[0]
    length = keys.tubelets or times // 2
    if not 0 < length < times:
        raise UserError(f"config.study.tubelets is {length}; expected 1 to {times - 1}, or 0 for half of {times}.")
    starts = choose_starts(len(source), times, length, config.seed)
    classes = _classes(source, keys.head, kinds)
    donors = {kind: choose_donors(classes, kind, config.seed) for kind in kinds}
    batch_size = build.videos_per_device(config, candidates[0], protocol) * jax.local_device_count()

    def loaded(videos: VideoSource):
        threads, workers = config.data.num_threads, config.data.num_workers
        return batches(videos, protocol, batch_size, num_threads=threads, num_workers=workers, prefetch=2 * batch_size)

    began = time.perf_counter()
    with Progress(len(source), "videos") as progress:
        found = evaluate_splices(
            candidates,
            loaded(source),
            # A video that cannot be read is its own donor, where it fails again.
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
            on_batch=progress.advance,
        )
    results = summarise_splices(config, candidates, found, source, protocol, length)
    results["measured"]["wall_s"] = time.perf_counter() - began
    # The first video, its donor, and what was made of them.
    host = int(found.indices[0])
    numbers, start = [host, int(donors[kinds[-1]][host]), host], starts[host]
    ours, theirs = (load_frames(source[number], protocol)[None, :1] for number in numbers[:2])
    clips = np.concatenate([ours, theirs, splice(ours, theirs, starts[[host]], length, depth)])[:, 0]
    names = [source[number].id for number in numbers[:2]]
    names.append(f"the first with frames {depth * start + 1} to {depth * (start + length)} of the second")
    picture = merged_tokens(candidates[-1], protocol, names, numbers, protocol.normalise(clips), config.seed)
    splice_page(results, picture).write(workdir, FOLDER)
    folder = workdir / FOLDER
    files = {
        "config.json": f"{config.to_json_best_effort(indent=2)}\n",
        "videos.csv": video_table(found, starts, source.class_names),
        "layers.csv": layer_table(results).csv(),
        # Last, so that it stands for them all.
        "results.json": f"{json.dumps(results, indent=2)}\n",
    }
    for name, text in files.items():
        write_text(folder / name, text)
    print(splice_headline(results))
    print(
        f"{depth * length} of {times * depth} frames were spliced; "
        f"results in {folder}: report.html, figures, {', '.join(files)}"
    )
    failed = len(found.failures)
    if failed > config.data.max_failures:
        print(f"error: {failed} failed, more than data.max_failures; the report names them.", file=sys.stderr)
        return TOO_MANY_FAILED
    return SUCCESS


def _kinds(given: Any) -> list[str]:
    """Reads `study.donors`: words, also separated by commas."""
    entries = [given] if isinstance(given, str) else list(given)
    kinds = list(dict.fromkeys(word.strip() for entry in entries for word in str(entry).split(",") if word.strip()))
    unknown = [kind for kind in kinds if kind not in DONOR_KINDS]
    if unknown or not kinds:
        found = repr(unknown[0]) if unknown else "empty"
        raise UserError(f"config.study.donors is {found}; expected one or more of {', '.join(DONOR_KINDS)}.")
    return kinds


def _classes(source: VideoSource, head: str, kinds: Sequence[str]) -> list[str | None]:
    """Says every video's class in words; None for one that cannot be read."""
    if head and head not in source.heads:
        known = f"its heads are {', '.join(source.heads)}" if source.heads else "the videos have no labels"
        raise UserError(f"config.study.head is {head!r}; {known}.")
    if not source.heads and set(kinds) != {"random"}:
        raise UserError(
            "the videos have no labels, so that nobody knows whose class is the same; expected "
            "--config.study.donors=random."
        )
    classes: list[str | None] = []
    for index in range(len(source)):
        try:
            labels = source[index].labels
        except VideoError:
            classes.append(None)
            continue
        heads = [head] if head else source.heads
        classes.append(", ".join(f"{name} {class_name(name, labels[name], source.class_names)}" for name in heads))
    return classes
