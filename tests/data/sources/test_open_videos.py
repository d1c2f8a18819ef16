import shutil

import pytest
from etils import epath
from tfrecord_writer import clip
from tfrecord_writer import write as write_records

from jax_vtm.data import open_videos
from jax_vtm.data.sources.folders import VideoFolder
from jax_vtm.data.sources.open_videos import KINDS
from jax_vtm.data.sources.tfds_records import TfdsVideos
from jax_vtm.data.sources.tfrecord import TFRecordVideos
from jax_vtm.data.tfds_builders import write_videos

TWO = {"label": 2}
KINETICS_CSV = "label,youtube_id,time_start,time_end,split\nzumba,a,0,10,train\nabseiling,b,0,10,val\n"
EPIC_CSV = (
    "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    "P01_01_0,P01,P01_01,00:00:00.1,00:00:00.50,1,2\n"
)
SSV2_LABELS = {"Holding something": "0", "Tilting something": "1"}
SSV2_ENTRIES = [{"id": "7", "template": "Tilting [something]"}]
SSV2_FRAMES = 'original_vido_id video_id frame_id path labels\n7 0 0 7/7_000001.jpg ""\n'


def ids(source):
    return [source[index].id for index in range(len(source))]


@pytest.mark.parametrize("name", ["val.csv", "validate.csv", "annotations/val.csv", "{kind}_val.csv"])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b_000000_000010.mp4 1\n", ["b_000000_000010.mp4"]),
        ("\ufeffb_000000_000010.mp4,1\r\n", ["b_000000_000010.mp4"]),
        (KINETICS_CSV, ["a_000000_000010", "b_000000_000010"]),
        (KINETICS_CSV.replace("\n", "\r\n"), ["a_000000_000010", "b_000000_000010"]),
        ("video,label\nb_000000_000010.mp4,1\n", ["b_000000_000010.mp4"]),
    ],
)
def test_kinetics_lists_are_found_and_told_apart(tmp_path, write, name, text, found):
    for kind in ("kinetics400", "kinetics600"):
        write(tmp_path / kind / "b_000000_000010.mp4")
        write(tmp_path / kind / name.format(kind=kind), text)
        source = open_videos(kind, tmp_path / kind, num_classes=TWO)
        assert (ids(source), source.heads) == (found, ("label",))


def test_kinetics_splits(tmp_path, write):
    write(tmp_path / "videos/a_000000_000010.mp4")
    write(tmp_path / "videos/b_000000_000010.mp4")
    path = write(tmp_path / "all.csv", KINETICS_CSV)
    write(tmp_path / "test.csv", "a_000000_000010.mp4 0")
    for split in ("val", "validation"):
        source = open_videos("kinetics400", tmp_path / "videos", annotations=str(path), split=split, num_classes=TWO)
        assert ids(source) == ["b_000000_000010"]
    source = open_videos("kinetics400", tmp_path / "videos", annotations=tmp_path, split="test", num_classes=TWO)
    assert ids(source) == ["a_000000_000010.mp4"]


def test_the_number_of_classes_is_the_datasets_own(tmp_path, write, complaint):
    write(tmp_path / "a.mp4")
    path = write(tmp_path / "val.csv", "a.mp4 600")
    assert "expected an index 0..399" in complaint(open_videos, "kinetics400", tmp_path, annotations=path)
    assert "expected an index 0..599" in complaint(open_videos, "kinetics600", tmp_path, annotations=path)


@pytest.mark.parametrize("split", ["", "val/", "validation/"])
def test_kinetics_without_a_list(tmp_path, write, complaint, split):
    write(tmp_path / f"classes/{split}zumba/x.mp4")
    write(tmp_path / f"classes/{split}abseiling/y.mp4")
    source = open_videos("kinetics400", tmp_path / "classes", num_classes=TWO)
    assert [(item.id, item.labels["label"]) for item in source] == [("abseiling/y.mp4", 0), ("zumba/x.mp4", 1)]
    shutil.rmtree(tmp_path / "classes")
    write(tmp_path / "videos/a.mp4")
    write(tmp_path / "videos/b.mp4")
    message = complaint(open_videos, "kinetics400", tmp_path)
    assert message.startswith(
        "kinetics400: there is neither a list of the videos nor one folder per class.\n  A list: looked for "
        "validation.csv, kinetics_validation.csv, kinetics400_validation.csv, val.csv,"
    )
    there = f"{tmp_path} (which holds videos); there is no {tmp_path / 'annotations'};"
    assert f"labels.csv, testlist01.txt in {there}" in message
    assert message.endswith(
        "expected 400; an index is a class's place in the alphabetical order of all of them, so that all have to be "
        "there.\n  Videos without labels are of the kind 'folder'."
    )


@pytest.mark.parametrize("prefix", ["something-something-v2-", "labels/something-something-v2-", "labels/"])
def test_something_something_videos(tmp_path, write, prefix):
    write(tmp_path / "20bn-something-something-v2/7.webm")
    write(tmp_path / f"{prefix}validation.json", SSV2_ENTRIES)
    write(tmp_path / f"{prefix}labels.json", SSV2_LABELS)
    write(tmp_path / f"{prefix.rpartition('/')[0] or '.'}/val.csv", SSV2_FRAMES)
    source = open_videos("ssv2", tmp_path, num_classes=TWO)
    assert source[0].labels == {"label": 1}


def test_something_something_frames(tmp_path, write):
    frames = write(tmp_path / "frames/7/7_000001.jpg").parent.parent
    entries = write(tmp_path / "json/validation.json", SSV2_ENTRIES)
    labels = write(tmp_path / "json/labels.json", SSV2_LABELS)
    frame_list = write(tmp_path / "json/val.csv", SSV2_FRAMES)
    other_list = write(tmp_path / "elsewhere.csv", SSV2_FRAMES)
    for annotations in (tmp_path / "json", entries, labels, [labels, frame_list], [other_list, labels, entries]):
        source = open_videos("ssv2", frames, annotations=annotations, num_classes=TWO)
        assert source[0].video.frames == (str(frames / "7/7_000001.jpg"),)


def test_incomplete_something_something(tmp_path, write, complaint):
    videos = write(tmp_path / "videos/7.txt").parent
    folder = write(tmp_path / "json/test.json", SSV2_ENTRIES).parent
    message = complaint(open_videos, "ssv2", videos, annotations=folder)
    assert message == (
        "ssv2: there is no json file of the classes and none of the videos, nor a list of paths and class "
        "indices; looked for "
        "something-something-v2-labels.json, labels.json, something-something-v2-validation.json, validation.json, "
        "something-something-v2-val.json, val.json, something-something-v2-validate.json, validate.json, "
        f"validation.csv, val.csv, validate.csv in {folder} (which holds test.json); annotations that lie elsewhere "
        "have to be named"
    )
    write(folder / "labels.json", SSV2_LABELS)
    message = complaint(open_videos, "ssv2", videos, annotations=folder)
    assert message.startswith("ssv2: there is no json file of the videos, nor a list")
    message = complaint(open_videos, "ssv2", videos, annotations=folder, split="test")
    assert message.startswith("ssv2: there are neither videos such as 74225.webm in")
    assert "nor a list of frames; looked for something-something-v2-labels.json" in message
    assert "test.csv, testing.csv in" in message
    both = [folder / "labels.json", write(folder / "my-labels.json", SSV2_LABELS)]
    message = complaint(open_videos, "ssv2", videos, annotations=both)
    assert message == f"annotations: {both[0]} and {both[1]} are of one kind, expected one of them"


def test_epic_kitchens(tmp_path, write, complaint):
    write(tmp_path / "videos/P01_01.MP4")
    message = complaint(open_videos, "epic_kitchens_100", tmp_path / "videos")
    assert message.startswith("epic_kitchens_100: there are no annotations; looked for EPIC_100_validation.csv,")
    path = write(tmp_path / "EPIC_100_validation.csv", EPIC_CSV)
    write(tmp_path / "EPIC_100_validation.pkl")
    for annotations in (path, tmp_path):
        source = open_videos("epic_kitchens_100", tmp_path / "videos", annotations=annotations)
        assert source[0].span == (0.1, 0.5)
    source = open_videos("epic_kitchens_100", tmp_path / "videos", annotations=path, timestamps="reference")
    assert source[0].span == (0.01, 0.5)
    path.unlink()
    message = complaint(open_videos, "epic_kitchens_100", tmp_path / "videos", annotations=tmp_path)
    assert "EPIC_100_validation.pkl: is a pickle" in message


def test_folders(tmp_path, write, complaint):
    write(tmp_path / "notes.txt")
    message = complaint(open_videos, "folder", tmp_path)
    assert message.startswith(f"video folder {tmp_path}: holds neither videos (.mp4,")
    write(tmp_path / "a/1.jpg")
    source = open_videos("folder", tmp_path)
    assert ids(source) == ["a"]
    write(tmp_path / "b.mp4")
    source = open_videos("folder", tmp_path, annotations="", split="")
    assert (ids(source), source.heads) == (["b.mp4"], ())
    write(tmp_path / "labels.csv", "video,label\nb.mp4,run\n")
    labels = write(tmp_path / "labels/mine.csv", "video,label\nb.mp4,walk\n")
    names = {"label": ["walk", "run"]}
    assert open_videos("folder", tmp_path, class_names=names)[0].labels == {"label": 1}
    assert open_videos("folder", tmp_path, annotations=labels, class_names=names)[0].labels == {"label": 0}


@pytest.fixture
def records(tmp_path):
    """A folder of two shards with a clip each."""
    folder = tmp_path / "shards of me@home"
    folder.mkdir()
    for shard in range(2):
        example = clip([b"\xff\xd8"], [shard], {"clip/key": f"clip {shard}"})
        write_records(folder / f"test-{shard:05d}-of-00002", [example])
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_names_for_several_are_tfrecords_whatever_the_kind(records, kind):
    heads = {"noun": 1, "verb": 1} if kind == "epic_kitchens_100" else TWO
    if kind == "epic_kitchens_100":
        for shard in range(2):
            example = clip([b"\xff\xd8"], [0, 1], {"clip/key": f"clip {shard}"})
            write_records(records / f"test-{shard:05d}-of-00002", [example])
    several = ["test@2", "test-*", "../shards*/test-?????-of-00002", "../*home/test-*"]
    for name in ("test-00000-of-00002", *several):
        source = open_videos(kind, records / name, num_classes=heads)
        assert isinstance(source, TFRecordVideos)
        assert ids(source) == ["clip 0", "clip 1"][: 2 if name in several else 1]
        assert source.heads == tuple(heads)


def test_tfrecords_have_their_labels_in_them(records, tmp_path, write, complaint):
    assert open_videos("folder", records / "test@2", num_classes=TWO)[1].labels == {"label": 1}
    shifted = open_videos("folder", records / "test-00001-of-00002", num_classes=TWO, label_offset=1)
    assert shifted[0].labels == {"label": 0}
    labels = write(tmp_path / "labels.csv", "video,label\n")
    message = complaint(open_videos, "folder", records / "test@2", annotations=labels)
    assert message == (
        f"{labels}: annotations are given for {records / 'test@2'}, whose records hold the labels; leave them out"
    )
    assert "test@3: 3 of 3 files are missing" in complaint(open_videos, "folder", records / "test@3")
    assert "no-*: no file matches" in complaint(open_videos, "folder", records / "no-*")


@pytest.mark.parametrize("name", ["a.mp4", "a.WEBM", "val.csv", "validation.json", "EPIC_100_validation.pkl"])
def test_a_single_file_of_another_kind_is_no_data_set(tmp_path, write, complaint, name):
    path = write(tmp_path / name)
    message = complaint(open_videos, "folder", path)
    assert message == f"{path}: is a single file, expected the folder of the videos, or TFRecords"


def test_a_folder_with_a_dataset_info_is_one_of_tensorflow_datasets(tmp_path, clips, write, complaint):
    write(tmp_path / "videos/a.mp4", clips["25.mp4"])
    write(tmp_path / "videos/labels.csv", "video,label\na.mp4,1\n")
    videos = VideoFolder(tmp_path / "videos")
    folder = write_videos("folder", videos, epath.Path(tmp_path / "out"), "validation", TWO, lambda failure: None)
    for kind in KINDS:
        source = open_videos(kind, folder, num_classes=TWO)
        assert isinstance(source, TfdsVideos)
        assert (ids(source), source[0].labels) == (["a.mp4"], {"label": 1})
    assert len(open_videos("folder", folder, split="validation[:100%]")) == 1
    message = complaint(open_videos, "folder", folder, annotations=tmp_path / "videos" / "labels.csv")
    assert message.endswith("whose records hold the labels; leave them out")
    message = complaint(open_videos, "kinetics400", folder)
    assert message.endswith("has labels of label 2 classes, expected label 400")


def test_addresses_that_take_a_package_that_is_not_there(monkeypatch, complaint):
    def missing(path):
        raise ImportError("Please install gcsfs to access Google Storage")

    for asked in ("exists", "is_dir"):
        monkeypatch.setattr(type(epath.Path("gs://bucket/x")), asked, missing)
    message = complaint(open_videos, "kinetics400", "gs://bucket/videos")
    assert message == (
        "gs://bucket/videos: such addresses cannot be read here (Please install gcsfs to access Google Storage)"
    )


def test_wrong_arguments(tmp_path, write, complaint):
    assert complaint(open_videos, "imagenet", tmp_path) == (
        "dataset kind 'imagenet' is unknown; known are kinetics400, kinetics600, ssv2, epic_kitchens_100, folder"
    )
    for kind in KINDS:
        assert "nowhere: does not exist" in complaint(open_videos, kind, tmp_path / "nowhere")
        message = complaint(open_videos, kind, tmp_path, annotations=[tmp_path, tmp_path / "no.csv"])
        assert message == f"annotations {tmp_path / 'no.csv'}: there is no such file or folder"
    write(tmp_path / "labels.json", SSV2_LABELS)
    write(tmp_path / "val.json", SSV2_ENTRIES)
    message = complaint(open_videos, "ssv2", tmp_path, class_names={"label": ["a"]})
    assert message == "class names are given for ssv2, whose annotations have them; leave them out"
