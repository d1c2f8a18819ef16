"""`python main.py splice`: tubelets of another video in every clip: what merges across, whom the prediction follows."""

import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.config import Config
from jax_vtm.data import Rearranged, VideoError, VideoSource, batches
from jax_vtm.errors import SUCCESS, TOO_MANY_FAILED, UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.progress import Progress
from jax_vtm.files import write_text
from jax_vtm.studies.page import splice_headline, splice_page
from jax_vtm.studies.picture import splice_picture
from jax_vtm.studies.results import layer_table, summarise_splices, video_table
from jax_vtm.studies.splices import evaluate_splices
from jax_vtm.studies.splicing import DONOR_KINDS, choose_donors, choose_starts

# In the workdir, where an evaluation of the same config may be.
FOLDER = "splice"


def run(config: Config, workdir: pathlib.Path) -> int:
    """Evaluates the clips as they are and spliced, and writes the results to the workdir's folder `splice`.

    Returns:
        The exit code.
    """
    kinds = _kinds(config.splice.donors)
    build.use_compilation_cache(config.compilation_cache)
    candidates = build.load_candidates(config)
    if len(candidates) == 1:
        raise UserError("config.reduction.mode is 'none'; expected one that reduces: a splice shows what merges.")
    model = candidates[0].model
    protocol = build.protocol(config, model)
    source = build.videos(config, model, workdir)
    times, depth = model.grid[0], model.patch_size[0]
    length = config.splice.tubelets or times // 2
    if not 0 < length < times:
        raise UserError(f"config.splice.tubelets is {length}; expected 1 to {times - 1}, or 0 for half of {times}.")
    starts = choose_starts(len(source), times, length, config.seed)
    classes = _classes(source, config.splice.head, kinds)
    donors = {kind: choose_donors(classes, kind, config.seed) for kind in kinds}

    batch_size = build.videos_per_device(config, candidates[0], protocol) * jax.local_device_count()

    def loaded(videos: VideoSource):
        threads, workers = config.data.num_threads, config.data.num_workers
        return batches(videos, protocol, batch_size, num_threads=threads, num_workers=workers, prefetch=2 * batch_size)

    began = time.perf_counter()
    with Progress(len(source), "videos") as progress:
        outcome = evaluate_splices(
            candidates,
            loaded(source),
            # One that cannot be read is in its own place, where it fails again.
            {kind: loaded(Rearranged(source, _own_where_none(numbers))) for kind, numbers in donors.items()},
            starts,
            length,
            random_seed=config.seed,
            mean=protocol.mean,
            std=protocol.std,
            backend=config.backend,
            clips_at_once=config.data.clips_at_once,
            on_batch=progress.advance,
        )
    results = summarise_splices(config, candidates, outcome, source, protocol, length)
    results["measured"]["wall_s"] = time.perf_counter() - began
    shown = int(outcome.indices[0])
    picture = splice_picture(
        candidates[-1], protocol, source, shown, int(donors[kinds[-1]][shown]), int(starts[shown]), length
    )
    folder = workdir / FOLDER
    splice_page(results, [picture]).write(workdir, FOLDER)
    files = {
        "config.json": f"{config.to_json_best_effort(indent=2)}\n",
        "videos.csv": video_table(outcome, starts, source.class_names),
        "layers.csv": layer_table(results),
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
    failed = len(outcome.failures)
    if failed > config.data.max_failures:
        print(f"error: {failed} failed, more than data.max_failures; the report names them.", file=sys.stderr)
        return TOO_MANY_FAILED
    return SUCCESS


def _kinds(given: Any) -> list[str]:
    """Reads `splice.donors`: words, also separated by commas."""
    entries = [given] if isinstance(given, str) else list(given)
    kinds = list(dict.fromkeys(word.strip() for entry in entries for word in str(entry).split(",") if word.strip()))
    unknown = [kind for kind in kinds if kind not in DONOR_KINDS]
    if unknown or not kinds:
        found = repr(unknown[0]) if unknown else "empty"
        raise UserError(f"config.splice.donors is {found}; expected one or more of {', '.join(DONOR_KINDS)}.")
    return kinds


def _classes(source: VideoSource, head: str, kinds: Sequence[str]) -> list[str | None]:
    """Says every video's class in words; None for one that cannot be read."""
    if head and head not in source.heads:
        known = f"its heads are {', '.join(source.heads)}" if source.heads else "the videos have no labels"
        raise UserError(f"config.splice.head is {head!r}; {known}.")
    if not source.heads and set(kinds) != {"random"}:
        raise UserError(
            "the videos have no labels, so that nobody knows whose class is the same; expected "
            "--config.splice.donors=random."
        )
    heads = [head] if head else list(source.heads)
    classes: list[str | None] = []
    for index in range(len(source)):
        try:
            classes.append(_named(source[index].labels, heads, source.class_names))
        except VideoError:
            classes.append(None)
    return classes


def _named(labels: Mapping[str, int], heads: Sequence[str], names: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{head} {names[head][labels[head]] if head in names else labels[head]}" for head in heads)


def _own_where_none(donors: np.ndarray) -> list[int]:
    return np.where(donors < 0, np.arange(len(donors)), donors).tolist()
