"""`predict FILE_OR_FOLDER...`: predicts the classes of videos, without and with merging."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, Failure, VideoItem, VideoSource, batches, open_videos
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Variant, build, head_names
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.files import AnyPath, write_table
from jax_vtm.prediction.page import Prediction, page, print_predictions
from jax_vtm.prediction.predict import probabilities, ranked
from jax_vtm.regular_file import as_path, exists

FOLDER = "predict"
STRIP_FRAMES, STRIP_PIXELS = 6, 128
STRIPS = 100  # videos whose frames are on the page


def run(config: Config, workdir: AnyPath) -> int:
    """Predicts, prints the classes and writes them to `workdir/predict`; returns the exit code."""
    if config.predict.top < 1:
        raise UserError(f"config.predict.top is {config.predict.top}; expected at least 1.")
    if not config.predict.videos:
        raise UserError("predict takes videos: predict FILE_OR_FOLDER... --config=NAME.")
    if missing := [path for path in config.predict.videos if not exists(as_path(path))]:
        raise UserError(f"{', '.join(missing)}: there is no such file or folder.")
    build.use_compilation_cache(config.compilation_cache)
    variants = build.load_variants(config)
    model = variants[0].model
    protocol = build.protocol(config, model)
    names = build.class_names(config, model)
    source = JoinedVideos([_videos(path, head_names(model)) for path in config.predict.videos])
    predictions, failures = _predict(config, variants, source, protocol)
    if not predictions:
        raise UserError(f"none of the {len(source)} videos could be read; {failures[0].id}: {failures[0].reason}")
    folder = workdir / FOLDER
    write_table(folder / "failures.csv", [dataclasses.asdict(failure) for failure in failures])
    write_table(folder / "predictions.csv", _rows(predictions, names, config.predict.top))
    page(config, predictions, names, failures, protocol).write(workdir, FOLDER)
    print_predictions(predictions, names, config.predict.top)
    for failure in failures:
        print(f"{failure.id}: {failure.reason}", file=sys.stderr)
    print(f"results in {folder}: report.html, predictions.csv")
    return code_of_failures(len(failures), config.data.max_failures, str(folder / "failures.csv"))


class JoinedVideos:
    """A `VideoSource` of several sources one after the other, without labels."""

    heads = ()
    class_names: Mapping[str, tuple[str, ...]] = {}

    def __init__(self, parts: Sequence[tuple[str, VideoSource | Sequence[VideoItem]]]):
        self._parts = parts
        self._places = [(part, index) for part, (_, videos) in enumerate(parts) for index in range(len(videos))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> VideoItem:
        part, place = self._places[index]
        folder, videos = self._parts[part]
        item = videos[place]
        return dataclasses.replace(item, id=f"{folder}/{item.id}" if folder else item.id)


def _videos(path: str, heads: Mapping[str, int]) -> tuple[str, VideoSource | Sequence[VideoItem]]:
    """Returns a folder and its videos, or "" and one file."""
    if as_path(path).is_dir():
        return path.rstrip("/"), open_videos("folder", path, num_classes=heads)
    return "", [VideoItem(path, path)]


def _predict(
    config: Config, variants: Sequence[Variant], source: JoinedVideos, protocol: ClipProtocol
) -> tuple[list[Prediction], list[Failure]]:
    batch_size = min(build.videos_per_device(config, variants[0], protocol), len(source))
    runs = [(one.name, one.model) for one in variants]
    params: Any = jax.device_put(variants[0].params)
    predictions: list[Prediction] = []
    failures: list[Failure] = []
    loading = {"num_threads": config.data.num_threads, "num_workers": config.data.num_workers}
    print(f"predicting with {' and '.join(name for name, _ in runs)}; compiling first", file=sys.stderr)
    with tqdm(total=len(source), unit="video", disable=None) as bar:
        for batch in batches(source, protocol, batch_size, prefetch=max(8, 2 * batch_size), **loading):
            failures += batch.failures
            bar.update(len(batch.failures))
            if not batch.mask.any():
                continue
            options = {"random_seed": config.seed, "clips_at_once": config.data.clips_at_once}
            found = {
                name: probabilities(model, params, batch.frames, batch.indices, protocol, **options)
                for name, model in runs
            }
            for place in np.flatnonzero(batch.mask):
                frames = _strip(batch.frames[place, 0], protocol) if len(predictions) < STRIPS else None
                own = {run: {head: values[place] for head, values in heads.items()} for run, heads in found.items()}
                predictions.append(Prediction(batch.ids[place], own, frames))
                bar.update()
    return predictions, failures


def _strip(view: np.ndarray, protocol: ClipProtocol) -> UInt8[np.ndarray, "n H W 3"]:
    chosen = view[np.linspace(0, len(view) - 1, min(STRIP_FRAMES, len(view))).astype(int)]
    every = -(-chosen.shape[1] // STRIP_PIXELS)
    return protocol.pictures(protocol.normalise(chosen))[:, ::every, ::every]


def _rows(predictions: Sequence[Prediction], names: Mapping[str, Sequence[str]], top: int) -> list[dict[str, Any]]:
    return [
        {"video": one.id, "run": run, "head": head, "rank": rank, "class": name, "probability": probability}
        for one in predictions
        for run, heads in one.probabilities.items()
        for head, values in heads.items()
        for rank, (name, probability) in enumerate(ranked(values, names.get(head, ()), top), 1)
    ]
