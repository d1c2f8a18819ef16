import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from jax_vtm.data import (
    Pictures,
    VideoError,
    VideoFolder,
    VideoItem,
    VideoSource,
    batches,
    decode_frames,
    source_digest,
    tfds_builders,
)
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.sources.tfds_records import TfdsVideos
from jax_vtm.data.sources.tfrecord import TFRecordVideos
from jax_vtm.data.tfds_builders import write_videos
from jax_vtm.data.views import load_frames
from jax_vtm.errors import UserError

PROTOCOL = ClipProtocol(num_frames=4, stride=2, short_side=32, crop=32, num_clips=2)
EPIC = {"noun": 4, "verb": 5}


@dataclass
class Listed:
    """Videos from a list; `None` is one that cannot be had."""

    items: list
    class_names: dict = field(default_factory=dict)

    @property
    def heads(self):
        return tuple(next((item.labels for item in self.items if item), {}))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if self.items[index] is None:
            raise VideoError(f"number {index}", "is gone")
        return self.items[index]


def build(source, data_dir, num_classes, kind="folder", failures=None):
    failures = [] if failures is None else failures
    return write_videos(kind, source, epath.Path(data_dir), "validation", num_classes, failures.append)


def assert_same(built, source):
    assert len(built) == len(source)
    for ours, theirs in zip(built, source, strict=True):
        assert (ours.id, ours.labels) == (theirs.id, theirs.labels)
        np.testing.assert_array_equal(load_frames(ours, PROTOCOL), load_frames(theirs, PROTOCOL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frames, encode):
    """Five labelled video files of different kinds."""
    path = tmp_path_factory.mktemp("raw")
    pixels = frames(24, 48, 64)
    encode(path / "a.mp4", pixels, options={"bf": "2"})
    encode(path / "b.webm", pixels[:9], "libvpx-vp9")
    encode(path / "c.avi", pixels[3:], "mpeg4")
    encode(path / "ä ö.mkv", pixels[5:])
    (path / "d.mp4").write_bytes((path / "a.mp4").read_bytes() + bytes(8))  # ends in zeros
    rows = [f"{file.name},{number % 3},{number}" for number, file in enumerate(sorted(path.iterdir()))]
    (path / "labels.csv").write_text("\n".join(["video,verb,noun", *rows]))
    return path


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    """The folder as a data set, two videos to a shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds_builders, "VIDEOS_PER_SHARD", 2)
        return build(VideoFolder(folder), tmp_path_factory.mktemp("built"), {"verb": 3, "noun": 5})


def test_video_files_come_back_as_they_were(folder, built):
    source = VideoFolder(folder)
    stored = TfdsVideos(built)
    assert isinstance(stored, VideoSource)
    assert len(list(built.glob("*.array_record-*-of-00003"))) == 3
    assert stored.heads == ("noun", "verb")
    assert stored.class_names == {}
    assert [item.video for item in stored] == [epath.Path(item.video).read_bytes() for item in source]
    assert_same(stored, source)
    ids = [item.id for item in source]
    for part, expected in (("[1:4]", ids[1:4]), ("[:40%]", ids[:2]), ("[-1:]", ids[-1:])):
        assert [item.id for item in TfdsVideos(built, f"validation{part}")] == expected
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: stored[n % 5].id, range(100))) == ids * 20
    given = {"verb": ["a", "b", "c"]}
    assert TfdsVideos(built, class_names=given).class_names == {"verb": ("a", "b", "c")}


@pytest.mark.parametrize(("kind", "name"), [("kinetics400", "kinetics400"), ("ssv2", "something_something_v2")])
def test_names_are_kept(tmp_path, folder, kind, name):
    names = {"verb": ("take", "put", "cut"), "noun": tuple("abcde")}
    path = build(VideoFolder(folder, class_names=names), tmp_path, {}, kind)
    assert path == tmp_path / name / "files" / "1.0.0"
    assert TfdsVideos(path).class_names == names
    with pytest.raises(UserError, match="there are records already; remove them, or write elsewhere"):
        build(VideoFolder(folder, class_names=names), tmp_path, {}, kind)


def test_anybody_reads_it_by_name(built):
    examples = tfds.data_source("videos/files", split="validation", data_dir=built.parents[2])
    assert examples[0]["id"] == b"a.mp4"
    assert {"id", "video", "verb", "noun"} == set(examples[0])
    assert examples.dataset_info.features["noun"].num_classes == 5


def test_building_and_reading_take_no_tensorflow(folder, tmp_path):
    code = f"""
import sys
from etils import epath
from jax_vtm.data import VideoFolder
from jax_vtm.data.sources.tfds_records import TfdsVideos
assert "tensorflow_datasets" not in sys.modules
from jax_vtm.data.tfds_builders import write_videos
path = write_videos(
    "folder", VideoFolder({str(folder)!r}), epath.Path({str(tmp_path)!r}), "test", {{"verb": 3, "noun": 5}}, print
)
TfdsVideos(path, "test[1:]")[0]
print(sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *progress, modules = printed.splitlines()
    assert progress == ["None"] * 5
    assert not {"tensorflow", "jax"} & set(json.loads(modules.replace("'", '"')))


def test_pictures_come_back_as_they_were(tmp_path, golden):
    source = TFRecordVideos(golden / "scenic" / "tfrecord" / "epic.tfrecord", EPIC)
    path = build(source, tmp_path, EPIC, "epic_kitchens_100")
    assert path == tmp_path / "epic_kitchens_100" / "frames" / "1.0.0"
    stored = TfdsVideos(path, num_classes=EPIC)
    assert stored.heads == ("noun", "verb")
    assert_same(stored, source)
    for ours, theirs in zip(stored, source, strict=True):
        assert ours.video.frames == theirs.video.frames
        assert ours.video.fps == theirs.video.fps == 25
    frames = source[0].video.frames
    items = [
        VideoItem(name, Pictures(pictures))
        for name, pictures in {
            "none": [],
            "empty": [frames[0], b""],
            "missing": [frames[0], tmp_path / "x.jpg"],
            "damaged": [frames[0][:99]],
            "good": frames,
        }.items()
    ]
    told = []
    stored = TfdsVideos(build(Listed(items), tmp_path, {}, failures=told))
    assert [failure and failure.id for failure in told] == ["none", "empty", "missing", "damaged", None]
    assert ([item.video for item in stored], stored.heads) == ([Pictures(frames, None)], ())


def test_segments_of_a_recording_are_stored_alone(tmp_path, frames, encode):
    recording = encode(tmp_path / "long.mp4", frames(200), options={"g": "10", "bf": "2"})
    spans = [(0.5, 1.3), (2.0, 2.2), (6.61, 7.99)]
    source = Listed([VideoItem(f"s{n}", recording, {"verb": n, "noun": 1}, span) for n, span in enumerate(spans)])
    path = build(source, tmp_path, {"verb": 97, "noun": 300}, "epic_kitchens_100")
    assert path.parent.name == "segments"
    stored = TfdsVideos(path)
    for ours, theirs in zip(stored, source, strict=True):
        assert (ours.id, ours.labels) == (theirs.id, theirs.labels)
        expected = decode_frames(recording, lambda info: np.arange(info.num_frames), span=theirs.span)
        decoded = decode_frames(ours.video, lambda info: np.arange(info.num_frames), span=ours.span)
        np.testing.assert_array_equal(decoded, expected)
        assert len(decode_frames(ours.video, lambda info: np.arange(info.num_frames))) < len(expected) + 25


def test_videos_that_fail_are_told_and_left_out(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tfds_builders, "VIDEOS_PER_SHARD", 2)
    good = folder / "a.mp4"
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:-300])
    (tmp_path / "empty.mp4").touch()
    bad = ["empty.mp4", "cut.mp4", "nothing.mp4"]
    items = [
        None,
        VideoItem("0", good),
        *(VideoItem(name, tmp_path / name) for name in bad),  # a whole shard of them
        VideoItem("part", good, span=(0, 1)),
        VideoItem("pictures", Pictures([b"x"])),
        VideoItem("\udcff", good),
        VideoItem("address", "nothing://a/b.mp4"),
        VideoItem("1", good),
    ]
    told = []
    stored = TfdsVideos(build(Listed(items), tmp_path, {}, failures=told))
    assert [item.id for item in stored] == ["0", "1"]
    assert len(told) == len(items)
    reasons = {failure.id: failure.reason for failure in told if failure}
    assert list(reasons) == ["number 0", *bad, "part", "pictures", "\udcff", "address"]
    assert reasons["number 0"] == "is gone"
    assert reasons["empty.mp4"] == "the file is empty (0 bytes)"
    assert "cut short" in reasons["cut.mp4"]
    assert reasons["nothing.mp4"] == "there is no such file"
    assert reasons["part"] == "is stored in segments, unlike the others of its set, which are in files"


def test_a_digest_says_which_part_and_which_files(built, copied):
    digest = source_digest(TfdsVideos(built))
    assert len(digest) == 64
    assert source_digest(TfdsVideos(built)) == digest
    path, shards = copied
    assert source_digest(TfdsVideos(path)) == digest
    parts = ["validation[:3]", "validation[1:]", "validation[:100%]"]
    assert len({digest, *(source_digest(TfdsVideos(built, part)) for part in parts)}) == 4
    shards[0].write_bytes(shards[0].read_bytes() + b"0")
    assert source_digest(TfdsVideos(path)) != digest


def test_worker_processes_read_records(folder, built):
    stored = TfdsVideos(built, "validation[:3]")
    assert [item.id for item in pickle.loads(pickle.dumps(stored))] == [item.id for item in stored]
    (batch,) = batches(stored, PROTOCOL, 3, num_workers=1)
    (expected,) = batches(stored, PROTOCOL, 3, num_threads=0)
    assert batch.ids == expected.ids == ("a.mp4", "b.webm", "c.avi")
    for name, array in expected.labels.items():
        np.testing.assert_array_equal(batch.labels[name], array)
    np.testing.assert_array_equal(batch.frames, expected.frames)
    assert batch.mask.all()


def test_what_cannot_be_written(tmp_path, folder, complaint):
    for items in ([None, None], [VideoItem("a", b"")]):
        message = complaint(build, Listed(items), tmp_path, {})
        assert message == f"none of the {len(items)} videos can be read; nothing is written"
    assert not list(tmp_path.rglob("*array_record*"))
    assert "videos: give the number of classes of 'noun'" in complaint(
        build, VideoFolder(folder), tmp_path, {"verb": 3}
    )


def test_data_sets_that_cannot_be_opened(tmp_path, built, complaint):
    for path, split, num_classes, words in (
        (tmp_path, "validation", None, "dataset_info.json: there is no such file; expected"),
        (built, "test", None, "there is no split 'test'"),
        (built, "validation[2", None, "known are validation, and parts"),
        (
            built,
            "validation",
            {"verb": 97, "noun": 300},
            "has labels of noun 5, verb 3 classes, expected noun 300",
        ),
        (built, "validation", {"label": 5}, "expected label 5"),
    ):
        assert words in complaint(TfdsVideos, path, split, num_classes)


@pytest.fixture
def copied(tmp_path, built):
    """A copy to damage: its folder and its shards."""
    copy = tmp_path / "files" / "1.0.0"
    copy.mkdir(parents=True)
    for file in built.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy, sorted(copy.glob("*array_record*"))


def test_damaged_data_sets(copied, complaint):
    path, shards = copied
    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[:1000] + bytes([whole[1000] ^ 0xFF]) + whole[1001:])
    stored = TfdsVideos(path)
    with pytest.raises(VideoError, match="video 0 of split validation: its record cannot be read"):
        stored[0]
    assert [stored[number].id for number in range(1, 5)] == ["b.webm", "c.avi", "d.mp4", "ä ö.mkv"]
    shards[1].write_bytes(shards[1].read_bytes()[:-1000])
    with pytest.raises(UserError):
        [item.id for item in TfdsVideos(path)]
    shards[1].unlink()
    assert f"{path}: 1 files cannot be read: {shards[1].name}: there is no such file" in complaint(TfdsVideos, path)
    text = (path / "features.json").read_text()
    (path / "features.json").write_text(text.replace('"video"', '"image"'))
    expected = "has the features id, image, noun, verb; expected 'id' and 'video' or 'frames'"
    assert expected in complaint(TfdsVideos, path)
    (path / "features.json").write_text("no json")
    assert "is not a data set of TensorFlow Datasets" in complaint(TfdsVideos, path)
