"""Builders of TensorFlow Datasets from any source of videos, without TensorFlow. The import takes a second."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from jax_vtm.data.loading import Failure, failure_of
from jax_vtm.data.source import VideoError, VideoSource
from jax_vtm.data.sources import VideoFolder
from jax_vtm.data.tfds_examples import Layout, features, to_example
from jax_vtm.errors import UserError

VIDEOS_PER_SHARD = 128

# In the names of what TensorFlow Datasets has not written to the end.
_UNFINISHED = "incomplete."

OnVideo = Callable[[Failure | None], None]
"""Called after each video; with a failure, if the video could not be read and is left out."""


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

    Args:
        sources: Videos by split; without them there is one split for each folder in the `manual_dir`.
        num_classes: Number of classes of each head; by default the data set's own. Sources without labels give
            examples without.
        on_video: Called after each video. Without it a video that cannot be read ends the build with its `VideoError`.
        **kwargs: `data_dir` and what else a builder of TensorFlow Datasets takes, but for the file format.

    Raises:
        UserError: The splits have different heads, or a head's number of classes is not known.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=layout.value, description=f"Videos stored in {layout.value}.") for layout in Layout
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "A folder with one folder for each split (such as 'validation'), with video files and a labels.csv in it: the "
        "header 'video,' and the labels' names, then paths relative to that folder and class indices."
    )

    HOMEPAGE: str | None = None
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        *,
        sources: Mapping[str, VideoSource] | None = None,
        num_classes: Mapping[str, int] | None = None,
        on_video: OnVideo | None = None,
        **kwargs: Any,
    ):
        self._sources = dict(sources or {})
        self._num_classes = dict(num_classes or self.NUM_CLASSES)
        self._on_video = on_video
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            description="Videos." if type(self) is Videos else type(self).__doc__,
            homepage=self.HOMEPAGE,
            features=tfds.features.FeaturesDict({**features(self._layout), **self._labels()}),
            disable_shuffling=True,
        )

    @property
    def _layout(self) -> Layout:
        assert self.builder_config is not None  # every builder whose class has configurations has one
        return Layout(self.builder_config.name)

    def _labels(self) -> dict[str, Any]:
        all_heads = {split: tuple(sorted(source.heads)) for split, source in self._sources.items()}
        if len(set(all_heads.values())) > 1:
            raise UserError(f"the splits of {self.name} have different labels: {all_heads}; expected the same")
        heads = next(iter(all_heads.values()), tuple(self._num_classes))
        names = next(iter(source.class_names for source in self._sources.values()), {})
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
        sources = self._sources or {
            folder.name: VideoFolder(folder, num_classes=self._num_classes or None)
            for folder in sorted(epath.Path(dl_manager.manual_dir).iterdir())
            if folder.is_dir()
        }
        if not sources:
            raise UserError(f"{dl_manager.manual_dir}: there is no folder in it; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return {
            split: [
                partial(self._examples, source, range(len(source))[start : start + VIDEOS_PER_SHARD])
                for start in range(0, len(source), VIDEOS_PER_SHARD)
            ]
            for split, source in sources.items()
        }

    def _examples(self, source: VideoSource, indices: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in indices:
            item = None
            try:
                item = source[index]
                example = to_example(item, self._layout)
            except (VideoError, MemoryError) as error:
                if self._on_video is None:
                    raise
                self._on_video(failure_of(error, item, index))
                continue
            yield index, example
            # The examples of a shard are all kept until it is complete, only to be counted.
            example.clear()
            if self._on_video is not None:
                self._on_video(None)


class Kinetics400(Videos, skip_registration=True):
    """Kinetics-400: clips of about ten seconds, each of one of 400 human actions."""

    name = "kinetics400"
    HOMEPAGE = "https://github.com/cvdfoundation/kinetics-dataset"
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {"label": 400}


class SomethingSomethingV2(Videos, skip_registration=True):
    """Something-Something V2: clips of 174 things that people do with everyday objects."""

    name = "something_something_v2"
    HOMEPAGE = "https://www.qualcomm.com/developer/software/something-something-v-2-dataset"
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {"label": 174}


class EpicKitchens100(Videos, skip_registration=True):
    """EPIC-KITCHENS-100: actions in kitchens, each with one of 97 verbs and 300 nouns."""

    name = "epic_kitchens_100"
    HOMEPAGE = "https://epic-kitchens.github.io"
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {"noun": 300, "verb": 97}


BUILDERS = {"kinetics400": Kinetics400, "ssv2": SomethingSomethingV2, "epic_kitchens_100": EpicKitchens100}
"""The builders of the data sets that have one, by `config.data.name`."""


def remove_unfinished(data_dir: pathlib.Path) -> None:
    """Removes what a killed process has left of its data sets; nobody else may be writing there."""
    for path in list(data_dir.rglob(f"*{_UNFINISHED}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_videos(
    builder_class: type[Videos],
    source: VideoSource,
    data_dir: epath.Path,
    split: str,
    num_classes: Mapping[str, int],
    on_video: OnVideo,
) -> epath.Path:
    """Writes the videos of a source as a data set of one split, in the layout that they need.

    Returns:
        The folder of the data set, for `TfdsVideos` and `tfds.builder_from_directory`.

    Raises:
        UserError: The data set is there already, or not a single video can be read.
    """
    layout = _layout_of(source)
    builder = builder_class(
        sources={split: source}, num_classes=num_classes, on_video=on_video, data_dir=data_dir, config=layout.value
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
