"""Writes any source of videos as a data set of TensorFlow Datasets, without TensorFlow. The import takes a second."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from jax_vtm.data.loading import Failure, attempt
from jax_vtm.data.source import VideoError, VideoSource
from jax_vtm.data.tfds_examples import Layout, features, to_example
from jax_vtm.errors import UserError

VIDEOS_PER_SHARD = 128

# In the names of what TensorFlow Datasets has not written to the end.
_UNFINISHED = "incomplete."

OnVideo = Callable[[Failure | None], None]
"""Called after each video; with a failure, if the video could not be read and is left out."""

_NAMED = {
    "kinetics400": (
        "kinetics400",
        "Kinetics-400: clips of about ten seconds, each of one of 400 human actions.",
        "https://github.com/cvdfoundation/kinetics-dataset",
    ),
    "ssv2": (
        "something_something_v2",
        "Something-Something V2: clips of 174 things that people do with everyday objects.",
        "https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    ),
    "epic_kitchens_100": (
        "epic_kitchens_100",
        "EPIC-KITCHENS-100: actions in kitchens, each with one of 97 verbs and 300 nouns.",
        "https://epic-kitchens.github.io",
    ),
}
"""What data sets of a kind are called when they are written, and what is said of them."""


class _Info(tfds.core.DatasetInfo):
    """What is known of a data set before it is written: nothing."""

    def initialize_from_bucket(self) -> None:
        """Does not look for it in Google's bucket, where it is not, and makes no temporary folder to bring it to."""


# The base class writes examples as they come. `GeneratorBasedBuilder` would collect a whole split in temporary files
# to shuffle it, which takes TensorFlow as soon as there is more than 1 GB. Registered, the class would stand in the way
# of reading by name: features are those of what was written, and only its files tell them.
class Videos(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Videos with their ids and labels, in the order of their source, as array_record files.

    A configuration of the builder is a `Layout`. Anybody reads the result with
    `tfds.data_source("NAME/LAYOUT", split=..., data_dir=...)`, with or without this package.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=layout.value, description=f"Videos stored in {layout.value}.") for layout in Layout
    ]

    def __init__(
        self,
        *,
        kind: str,
        source: VideoSource,
        split: str,
        num_classes: Mapping[str, int],
        on_video: OnVideo,
        data_dir: epath.Path,
    ):
        name, self._about, self._homepage = _NAMED.get(kind, ("videos", "Videos.", None))
        self.name = name  # type: ignore[misc]
        self._source, self._split, self._on_video = source, split, on_video
        self._num_classes, self._layout = num_classes, _layout_of(source)
        super().__init__(file_format="array_record", data_dir=data_dir, config=self._layout.value)

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            description=self._about,
            homepage=self._homepage,
            features=tfds.features.FeaturesDict({**features(self._layout), **self._labels()}),
            disable_shuffling=True,
        )

    def _labels(self) -> dict[str, Any]:
        heads, names = sorted(self._source.heads), self._source.class_names
        if unknown := [head for head in heads if head not in self._num_classes and head not in names]:
            raise UserError(f"{self.name}: give the number of classes of {', '.join(map(repr, unknown))}")
        return {
            head: tfds.features.ClassLabel(names=list(names[head]))
            if head in names
            else tfds.features.ClassLabel(num_classes=self._num_classes[head])
            for head in heads
        }

    # What would be printed speaks of downloads, and there are none.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, Sequence[Callable[[], Iterator[tuple[int, Any]]]]]:
        count = len(self._source)
        shards = [range(count)[start : start + VIDEOS_PER_SHARD] for start in range(0, count, VIDEOS_PER_SHARD)]
        return {self._split: [partial(self._examples, shard) for shard in shards]}

    def _examples(self, indices: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in indices:
            example = attempt(self._source, index, lambda item: to_example(item, self._layout))
            if isinstance(example, Failure):
                self._on_video(example)
                continue
            yield index, example
            # The examples of a shard are all kept until it is complete, only to be counted.
            example.clear()
            self._on_video(None)


def remove_unfinished(data_dir: pathlib.Path) -> None:
    """Removes what a killed process has left of its data sets; nobody else may be writing there."""
    for path in list(data_dir.rglob(f"*{_UNFINISHED}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_videos(
    kind: str,
    source: VideoSource,
    data_dir: epath.Path,
    split: str,
    num_classes: Mapping[str, int],
    on_video: OnVideo,
) -> epath.Path:
    """Writes the videos of a source, a dataset of `kind`, as a data set of one split, in the layout that they need.

    Returns:
        The folder of the data set, for `TfdsVideos` and `tfds.builder_from_directory`.

    Raises:
        UserError: The data set is there already, not a single video can be read, or a head's number of classes is not
            known.
    """
    builder = Videos(
        kind=kind, source=source, split=split, num_classes=num_classes, on_video=on_video, data_dir=data_dir
    )
    folder = epath.Path(builder.data_path)
    if folder.exists():
        raise UserError(f"{folder}: there are records already; remove them, or write elsewhere")
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=data_dir) as nothing:
            builder.download_and_prepare(download_dir=nothing)
    except RuntimeError as error:  # what array_record makes of a full disk
        reason = str(error).partition(";")[0]
        raise UserError(f"{folder}: cannot be written: {reason}. Make room, or give another --workdir.") from error
    if not builder.info.splits[split].num_examples:
        folder.rmtree()
        raise UserError(f"none of the {len(source)} videos can be read; nothing is written")
    return folder


def _layout_of(source: VideoSource) -> Layout:
    """The layout of the first video that can be had; whether it can be decoded does not matter here."""
    for index in range(len(source)):
        with contextlib.suppress(VideoError):
            return Layout.of(source[index])
    raise UserError(f"none of the {len(source)} videos can be read; nothing is written")
