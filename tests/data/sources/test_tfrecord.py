import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tfrecord_writer import clip, write

from jax_vtm.data import decode_frames
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.source import Pictures, VideoError, VideoItem, VideoSource, entries_digest, source_digest
from jax_vtm.data.sources.tfrecord import TFRecordVideos
from jax_vtm.data.views import load_frames, load_views

SCENIC = {"num_frames": 4, "stride": 2, "short_side": 32, "crop": 27, "fast_jpeg": True}
EPIC = {"noun": 4, "verb": 5}


def everything(info):
    return np.arange(info.num_frames)


def jpeg(level=128):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def failure(source, index):
    with pytest.raises(VideoError) as caught:
        source[index]
    return str(caught.value)


@pytest.fixture(scope="module")
def records(golden):
    """The folder of the files that TensorFlow wrote."""
    return golden / "scenic" / "tfrecord"


@pytest.fixture(scope="module")
def expected(records):
    with np.load(records / "expected.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ["test.tfrecord", "sharded.tfrecord@2", "sharded.tfrecord-*"])
def test_frames_and_labels_are_those_that_tensorflow_reads(records, expected, name):
    source = TFRecordVideos(records / name, {"label": 5})
    assert isinstance(source, VideoSource)
    assert source.heads == ("label",)
    assert [item.labels["label"] for item in source] == expected["single_view/label"].argmax(-1).tolist()
    assert len(source) == 4
    received = pickle.loads(pickle.dumps(source))
    assert received.digest() == source.digest()
    alone = [item.video.frames for item in source]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: received[n % 4].video.frames, range(64))) == alone * 16
    differences = []
    for number, item in enumerate(source):
        decoded = decode_frames(item.video, everything, fast_jpeg=True)
        np.testing.assert_array_equal(decoded, expected[f"{number}/decoded"])
        assert item.video.fps == 25
        differences.append(np.abs(decode_frames(item.video, everything).astype(int) - decoded).ravel())
    # The accurate decoder is up to ten levels of 255 from TensorFlow's default.
    assert 5 <= np.concatenate(differences).max() <= 10
    assert 1.1 < np.concatenate(differences).mean() < 1.5


@pytest.mark.parametrize(
    ("name", "num_clips", "num_crops"),
    [("views_clips_x3crops", 4, 3), ("single_clip_x3crops", 1, 3), ("clips_central_crop", 4, 1)],
)
def test_from_records_to_views_everything_is_scenics(records, expected, name, num_clips, num_crops):
    protocol = ClipProtocol(**SCENIC, num_clips=num_clips, num_crops=num_crops)
    views = expected[f"{name}/image_uint8"].reshape(4, *protocol.views_shape)
    for item, scenic in zip(TFRecordVideos(records / "test.tfrecord"), views, strict=True):
        np.testing.assert_array_equal(load_frames(item, protocol), scenic)


def test_normalised_views_are_scenics(records, expected):
    source = TFRecordVideos(records / "test.tfrecord")
    for item, scenic in zip(source, expected["single_view/image"], strict=True):
        np.testing.assert_array_equal(load_views(item, ClipProtocol(**SCENIC))[0], scenic)


def test_two_indices_are_a_noun_and_a_verb(records, expected):
    source = TFRecordVideos(records / "epic.tfrecord", EPIC)
    assert source.heads == ("noun", "verb")
    for item, multi_hot in zip(source, expected["epic/label_multi_hot"], strict=True):
        assert item.labels == {"noun": multi_hot[:4].argmax(), "verb": multi_hot[4:].argmax()}


def test_pictures_in_records_and_in_a_folder_are_the_same_video(tmp_path, records):
    item = TFRecordVideos(records / "test.tfrecord")[1]
    for number, frame in enumerate(item.video.frames):
        (tmp_path / f"{number:03}.jpg").write_bytes(frame)
    loose = VideoItem("a", Pictures(sorted(tmp_path.iterdir()), item.video.fps))
    for fast_jpeg in (False, True):
        protocol = ClipProtocol(**SCENIC | {"fast_jpeg": fast_jpeg}, num_clips=2)
        np.testing.assert_array_equal(load_views(loose, protocol), load_views(item, protocol))


def test_a_digest_is_that_of_ids_and_labels(records, tmp_path):
    source = TFRecordVideos(records / "test.tfrecord", {"label": 5})
    digest = entries_digest((item.id, item.labels) for item in source)
    assert source_digest(source) == source.digest() == digest
    assert TFRecordVideos(records / "test.tfrecord", {"label": 6}, label_offset=-1).digest() != digest
    one = write(tmp_path / "a", [clip([jpeg()], [0], {"clip/key": "x"})])
    other = write(tmp_path / "b", [clip([jpeg(7)], [0], {"clip/key": "x"})])
    assert TFRecordVideos(one).digest() == TFRecordVideos(other).digest()


def test_shards_are_read_in_the_order_of_their_names(tmp_path):
    for shard in range(12):
        count = shard % 3  # a shard may be empty
        write(tmp_path / f"a-{shard:05}-of-00012.tfrecord", [clip([jpeg()], [shard])] * count)
    source = TFRecordVideos(tmp_path / "a@12.tfrecord")
    assert [item.labels["label"] for item in source] == [shard for shard in range(12) for _ in range(shard % 3)]
    assert [source[number].id for number in (1, 2)] == [f"a-00002-of-00012.tfrecord:{number}" for number in (0, 1)]
    other = tmp_path / "other" / "a-00001-of-00012.tfrecord"
    other.parent.mkdir()
    same_names = [write(other, [clip([jpeg()], [0])]), tmp_path / other.name]
    assert [item.id for item in TFRecordVideos(same_names)] == [f"{path}:0" for path in same_names]
    reverse = TFRecordVideos([tmp_path / f"a-{shard:05}-of-00012.tfrecord" for shard in (5, 1)])
    assert [item.labels["label"] for item in reverse] == [5, 5, 1]


@pytest.mark.parametrize("key", ["clip/key", "clip/media_id", "video/filename", "clip/data_path"])
def test_ids_are_the_clips_names_where_these_tell_them_apart(tmp_path, key):
    records = [clip([jpeg()], [0], {key: name, "note": "x"}) for name in ("b", "ä")]
    assert [item.id for item in TFRecordVideos(write(tmp_path / "a", records))] == ["b", "ä"]
    records[1] = clip([jpeg()], [0], {key: "b"})
    assert [item.id for item in TFRecordVideos(write(tmp_path / "a", records))] == ["a:0", "a:1"]
    records[1] = clip([jpeg()], [0])
    assert [item.id for item in TFRecordVideos(write(tmp_path / "a", records))] == ["a:0", "a:1"]


@pytest.mark.parametrize("beside", [{}, {"lists": {"image/label/index": [3, 7], "region/label/index": [5]}}])
def test_labels_of_single_frames_do_not_matter(tmp_path, beside):
    long = {"caption/string": "word " * 2000}  # longer than what is read when the file is opened
    records = [clip([jpeg(), jpeg()], [2], **beside), clip([jpeg()], [1], long, **beside)]
    assert [item.labels for item in TFRecordVideos(write(tmp_path / "a", records))] == [{"label": 2}, {"label": 1}]


def test_records_without_labels(tmp_path, complaint):
    source = TFRecordVideos(write(tmp_path / "a", [clip([jpeg()])] * 2), {"label": 5})
    assert source.heads == ()
    assert [item.labels for item in source] == [{}, {}]
    path = write(tmp_path / "a", [clip([jpeg()], [1]), clip([jpeg()])])
    assert "record 1 (counted from 0): has no clip/label/index, but other records have" in complaint(
        TFRecordVideos, path
    )


@pytest.mark.parametrize("indices", [[2, 4 + 3], [4 + 3, 2]])
def test_indices_of_two_heads_in_any_order(tmp_path, indices):
    path = write(tmp_path / "a", [clip([jpeg()], indices)])
    names = {"noun": tuple("abcd"), "verb": tuple("vwxyz")}
    source = TFRecordVideos(path, EPIC, class_names=names)
    assert source[0].labels == {"noun": 2, "verb": 3}
    assert source.class_names == names
    shifted = write(tmp_path / "b", [clip([jpeg()], [index + 1 for index in indices])])
    assert TFRecordVideos(shifted, EPIC, label_offset=1)[0].labels == {"noun": 2, "verb": 3}


@pytest.mark.parametrize(
    ("labels", "num_classes", "offset", "words"),
    [
        ([5], {"label": 5}, 0, "clip/label/index is [5] and label_offset 0; expected one index (label 0..4)"),
        ([0], {"label": 5}, 1, "clip/label/index is [0] and label_offset 1"),
        ([-1], None, 0, "expected one index (label 0..."),
        ([1, 2], {"label": 5}, 0, "expected one index (label 0..4)"),
        ([1], EPIC, 0, "one index for each head, counted through all of them (noun 0..3, then verb 0..4)"),
        ([1, 2], EPIC, 0, "clip/label/index is [1, 2]"),
        ([4, 5], EPIC, 0, "clip/label/index is [4, 5]"),
        ([1, 9], EPIC, 0, "clip/label/index is [1, 9]"),
        ([1, 4, 4], EPIC, 0, "clip/label/index is [1, 4, 4]"),
    ],
)
def test_labels_that_are_not_the_models(tmp_path, complaint, labels, num_classes, offset, words):
    good = [1, 5] if num_classes == EPIC else [1]
    path = write(tmp_path / "a", [clip([jpeg()], good), clip([jpeg()], labels)])
    message = complaint(TFRecordVideos, path, num_classes, label_offset=offset)
    assert message.startswith(f"{path}, record ")
    assert words in message


@pytest.mark.parametrize(
    ("context", "fps"),
    [
        ({}, None),
        ({"image/frame_rate": 12.5}, 12.5),
        ({"clip/start/timestamp": 500_000, "clip/end/timestamp": 1_000_000}, 4),
        ({"image/frame_rate": 12.5, "clip/start/timestamp": 0, "clip/end/timestamp": 1_000_000}, 12.5),
        ({"clip/start/timestamp": 0, "clip/end/timestamp": 0}, None),
    ],
)
def test_frames_per_second(tmp_path, context, fps):
    path = write(tmp_path / "a", [clip([jpeg(), jpeg()], context=context)])
    assert TFRecordVideos(path)[0].video.fps == fps


@pytest.fixture
def three(tmp_path):
    """A file of three clips with names, and the bytes at which its records begin."""
    records = [clip([jpeg(), jpeg()], [n], {"clip/key": f"clip {n}"}) for n in range(3)]
    starts = np.cumsum([0, *(len(record) + 16 for record in records)]).tolist()
    return write(tmp_path / "a.tfrecord", records), starts


def changed(path, position, value=None):
    data = bytearray(path.read_bytes())
    data[position] = data[position] ^ 0xFF if value is None else value
    path.write_bytes(data)
    return path


def test_a_damaged_picture_harms_its_record_alone(three):
    path, starts = three
    source = TFRecordVideos(changed(path, starts[2] - 100), {"label": 3})
    assert [source[n].id for n in (0, 2)] == ["clip 0", "clip 2"]
    assert failure(source, 1) == (
        f"video clip 1: record 1 (counted from 0) of {path} is damaged: its data does not match its checksum"
    )


def test_a_damaged_beginning_harms_its_record_alone(three):
    """Wherever the damage is, also in names and labels, opening the set does not fail and the others are read."""
    path, starts = three
    whole = path.read_bytes()
    for position in range(60):
        path.write_bytes(whole)
        source = TFRecordVideos(changed(path, starts[1] + 12 + position), {"label": 3})
        assert [source[n].labels for n in (0, 2)] == [{"label": 0}, {"label": 2}]
        assert "does not match its checksum" in failure(source, 1)
    path.write_bytes(whole)
    source = TFRecordVideos(changed(path, starts[1] + 12, 0xFF))
    assert source[0].id == "clip 0"
    assert failure(source, 1).startswith("video a.tfrecord:1: record 1 (counted from 0)")


def test_files_that_are_damaged_or_no_tfrecords(three, tmp_path, complaint):
    path, starts = three
    whole = path.read_bytes()
    for cut in (1, 4, 5, 100, starts[3] - starts[2] - 5):
        path.write_bytes(whole[:-cut])
        assert complaint(TFRecordVideos, path) == (
            f"{path}: is cut short: it ends at byte {starts[3] - cut}, within record 2 (counted from 0); "
            "write or copy it again"
        )
    path.write_bytes(whole)
    message = complaint(TFRecordVideos, changed(path, starts[1]))
    assert f"{path}: is damaged at byte {starts[1]}, after record 0" in message
    path.write_text("<html>not found</html>")
    assert "is not a TFRecord file, or a compressed one" in complaint(TFRecordVideos, path)
    empty = [write(tmp_path / name, []) for name in "ab"]
    assert "not a single record in 2 files" in complaint(TFRecordVideos, empty)


def test_a_file_that_shrinks_after_it_was_opened(three):
    path, starts = three
    source = TFRecordVideos(path)
    path.write_bytes(path.read_bytes()[: starts[2]])
    assert "does not match its checksum" in failure(source, 2)
    path.unlink()
    assert "cannot be read (No such file" in failure(source, 0)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"", "no pictures, expected them in the feature list image/encoded (found none)"),
        (clip([], lists={"other": [1]}), "(found other)"),
        (b"\xff\xff\xff", "it is no tf.train.SequenceExample"),
        (b"\x0a\xff", "it is no tf.train.SequenceExample"),
        (clip([b"x"], lists={"image/encoded": [1]}), "frame 1 (counted from 0) has 0 pictures, expected one"),
    ],
)
def test_records_that_hold_no_clip(tmp_path, record, words):
    source = TFRecordVideos(write(tmp_path / "a", [record, clip([jpeg()])]))
    assert words in failure(source, 0)
    assert len(source[1].video.frames) == 1


def test_missing_files(tmp_path, complaint):
    for shard in (0, 2):
        write(tmp_path / f"a-{shard:05}-of-00004", [clip([jpeg()])])
    message = complaint(TFRecordVideos, tmp_path / "a@4")
    assert "2 of 4 files are missing" in message
    assert "a-00001-of-00004" in message
    assert "a-00003-of-00004" in message
    assert "2 of 4 shards are missing" in complaint(TFRecordVideos, tmp_path / "a-*")
    assert len(TFRecordVideos(sorted(tmp_path.iterdir()))) == 2
    assert "no file matches" in complaint(TFRecordVideos, tmp_path / "b*")
    assert "1 of 1 files is missing" in complaint(TFRecordVideos, tmp_path / "b")
    assert "is a folder, expected a file" in complaint(TFRecordVideos, tmp_path)
    assert "list of record files is empty" in complaint(TFRecordVideos, [])
