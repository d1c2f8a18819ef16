"""Data sets of TensorFlow Datasets, read in any order and without TensorFlow."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils import epath

from jax_vtm import bucket
from jax_vtm.data.source import VideoError, VideoItem
from jax_vtm.data.sources.record_file import FILES_AT_ONCE, find_records
from jax_vtm.data.tables import first_of
from jax_vtm.data.tfds_examples import FRAMES, ID, VIDEO, from_example
from jax_vtm.errors import UserError
from jax_vtm.files import cache_folder, make_folder, writing
from jax_vtm.lock import held
from jax_vtm.regular_file import as_path, file_problem


class TfdsVideos:
    """A split of a data set that `Videos` or one of its kin has built; a `VideoSource`.

    Args:
        path: The data set's folder, the one with `dataset_info.json` in it.
        split: The split, or a part of it: `validation`, `validation[:50%]`, `validation[100:200]`.
        num_classes: Number of classes of each head of the model, to be compared with the data set's. Without it the
            heads are whatever labels the data set has.
        class_names: Names of the classes by head, for those that the data set has no names of.

    Raises:
        UserError: The folder holds no such data set or split, files of it are missing or damaged, or its labels are
            not the model's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str = "validation",
        num_classes: Mapping[str, int] | None = None,
        class_names: Mapping[str, Sequence[str]] | None = None,
    ):
        self._split = split
        folder = as_path(path)
        builder = _open(folder, _on_disk(folder, split) if bucket.is_bucket(folder) else folder)
        named, self.heads = _labels(folder, builder.info.features, num_classes)
        self.class_names = {**{head: tuple(names) for head, names in (class_names or {}).items()}, **named}
        self._files, self._examples = _examples(folder, builder, split)

    def digest(self) -> str:
        """A fingerprint of the split by the names and sizes of its files: ids are in the records, with the videos."""
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            sizes = pool.map(lambda file: file.stat().length, self._files)
            files = [[file.name, size] for file, size in zip(self._files, sizes, strict=True)]
        return hashlib.sha256(json.dumps([self._split, files]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> VideoItem:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            example = self._examples[index]
            video, span = from_example(example)
            labels = {head: int(example[head]) for head in self.heads}
            return VideoItem(example[ID].decode(), video, labels, span)
        # Whatever array_record and protobuf make of damaged bytes.
        except Exception as error:
            raise VideoError(f"{index} of split {self._split}", f"its record cannot be read ({error})") from error


def _on_disk(folder: epath.Path, split: str) -> epath.Path:
    """Copies what describes a split from a bucket to the cache, if it is not there, and its array_record files.

    Their library reads disks alone.

    Raises:
        UserError: It cannot be read, or there is no room for it.
    """
    name = re.match(r"\w*", split)
    parts = re.compile(rf".*-{name[0] if name else ''}\.array_record-.*|[^/]*\.json|[^/]*\.txt")
    top = f"{os.fspath(folder)}/"
    listed = {path: written for path, written in bucket.find(top).items() if parts.fullmatch(path.removeprefix(top))}
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
    local = make_folder(cache_folder() / "tfds" / digest)
    with held(local.with_suffix(".lock"), "another process is copying a data set there. Wait for it."):
        missing = {path: local / path.removeprefix(top) for path in listed}
        missing = {path: place for path, place in missing.items() if not place.exists()}
        partial = {path: str(place.with_name(f".{place.name}.partial")) for path, place in missing.items()}
        with writing(local):
            if partial:
                bucket.download(partial)
            for path, place in missing.items():
                os.replace(partial[path], place)
    return epath.Path(local)


def _open(path: epath.Path, local: epath.Path) -> Any:
    import tensorflow_datasets as tfds  # takes a second

    for file in (local / "dataset_info.json", local / "features.json"):
        if problem := file_problem(file):
            innermost = "a data set's innermost folder, such as kinetics400/files/1.0.0"
            raise UserError(f"{file}: {problem}; expected {innermost}")
    try:
        builder: Any = tfds.builder_from_directory(local)
        columns = set(builder.info.features)
    except Exception as error:
        raise UserError(f"{path}: is not a data set of TensorFlow Datasets, or a damaged one ({error})") from error
    if ID not in columns or not columns & {VIDEO, FRAMES}:
        raise UserError(
            f"{path}: has the features {', '.join(sorted(columns))}; expected {ID!r} and {VIDEO!r} or {FRAMES!r}, as "
            "`python main.py prepare` writes them"
        )
    return builder


def _labels(
    path: epath.Path, features: Any, num_classes: Mapping[str, int] | None
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The names of the classes by head, where they have any, and the heads."""
    import tensorflow_datasets as tfds

    found = {name: feature for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)}
    counts = {name: feature.num_classes for name, feature in found.items()}
    heads = tuple(sorted(found)) if num_classes is None or not found else tuple(num_classes)
    if num_classes is not None and found and any(counts.get(head) != num_classes[head] for head in heads):
        has, expected = (", ".join(f"{head} {n}" for head, n in sorted(each.items())) for each in (counts, num_classes))
        raise UserError(f"{path}: has labels of {has} classes, expected {expected}")
    names = {head: tuple(found[head].names) for head in heads}
    # Classes without names are called by their numbers.
    return {head: n for head, n in names.items() if n != tuple(map(str, range(len(n))))}, heads


class _TFRecords:
    """The examples of a split in TFRecord files, which are read by range when they are asked for."""

    def __init__(self, features: Any, parts: Sequence[tuple[epath.Path, int, int]]):
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            found = pool.map(lambda part: find_records(part[0], 0)[part[1] : part[1] + part[2]], parts)
            self._places = [place for records in found for place, _ in records]
        self._features = features

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        return self._features.deserialize_example_np(self._places[index].read())


def _examples(path: epath.Path, builder: Any, split: str) -> tuple[list[epath.Path], Any]:
    """A split's files, and its records."""
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    try:
        wanted = splits[split]
        instructions = wanted.file_instructions
    except Exception as error:
        known = f"known are {', '.join(splits)}, and parts such as 'validation[:50%]'"
        raise UserError(f"{path}: there is no split {split!r} ({error}); {known}") from error
    in_place = builder.info.file_format is tfds.core.FileFormat.TFRECORD
    folder = path if in_place else epath.Path(builder.data_path)
    parts = [(folder / epath.Path(one.filename).name, one.skip, one.take) for one in instructions]
    files = list(dict.fromkeys(file for file, *_ in parts))
    if problems := [f"{file.name}: {problem}" for file in files if (problem := file_problem(file))]:
        raise UserError(f"{path}: {len(problems)} files cannot be read: {first_of(problems)}")
    try:
        examples = _TFRecords(builder.info.features, parts) if in_place else builder.as_data_source(split)
        if len(examples) != wanted.num_examples:
            raise ValueError(f"{len(examples)} records, expected {wanted.num_examples}")
    except Exception as error:
        raise UserError(f"{path}: the records of split {split!r} cannot be read: {error}") from error
    return files, examples
