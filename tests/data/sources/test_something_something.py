import pytest

from jax_vtm.data import open_videos
from jax_vtm.data.source import VideoError, VideoSource

THREE = {"label": 3}


def something_something_videos(folder, annotations, labels, num_classes=THREE):
    return open_videos("ssv2", folder, annotations=[annotations, labels], num_classes=num_classes)


def something_something_frames(folder, annotations, labels, frame_list, num_classes=THREE):
    return open_videos("ssv2", folder, annotations=[annotations, labels, frame_list], num_classes=num_classes)


LABELS = {"Putting something on something": "1", "Holding something": "0", "Tilting something": "2"}
ENTRIES = [
    {"id": "74225", "label": "putting a pen on a book", "template": "Putting [something] on [something]"},
    {"id": "3", "label": "tilting a box", "template": "Tilting [something]", "placeholders": ["a box"]},
    {"id": 1000, "label": "Holding something"},
]
IDS_AND_LABELS = [("74225", 1), ("3", 2), ("1000", 0)]
HEADER = "original_vido_id video_id frame_id path labels"


@pytest.fixture
def annotations(tmp_path, write):
    return write(tmp_path / "validation.json", ENTRIES)


@pytest.fixture
def labels(tmp_path, write):
    return write(tmp_path / "labels.json", LABELS)


@pytest.fixture
def folder(tmp_path, clips, write, write_pictures):
    write(tmp_path / "videos/74225.webm", clips["vp9.webm"])
    write(tmp_path / "videos/1000.webm", clips["vp9.webm"])
    write(tmp_path / "videos/8.webm", clips["vp9.webm"])
    write_pictures(tmp_path / "frames/74225", [f"74225_{number:06d}.jpg" for number in range(1, 5)])
    write_pictures(tmp_path / "frames/1000", ["1000_000001.jpg"], first=30)
    return tmp_path


def frame_list(*rows):
    return "\n".join([HEADER, *rows]) + "\n"


def rows_of(video, number, names, first=0):
    return [f'{video} {number} {first + index} {video}/{name} ""' for index, name in enumerate(names)]


FRAMES = frame_list(
    *rows_of("1000", 0, ["1000_000001.jpg"]),
    *rows_of("8", 1, ["8_000001.jpg"]),
    *rows_of("74225", 2, [f"74225_{number:06d}.jpg" for number in (1, 2, 3, 4)]),
)


def test_videos(folder, annotations, labels, content, numbers):
    source = something_something_videos(folder / "videos", annotations, labels, {"label": 3})
    assert isinstance(source, VideoSource)
    assert source.heads == ("label",)
    assert source.class_names == {"label": ("Holding something", "Putting something on something", "Tilting something")}
    assert content(source) == IDS_AND_LABELS
    assert numbers(source[0]) == numbers(source[2]) == list(range(20))
    with pytest.raises(VideoError, match="video 3: there is no such file"):
        numbers(source[1])


@pytest.mark.parametrize(("name", "clip"), [("3.mp4", "29.97.mp4"), ("20bn-something-something-v2/3.webm", "vp9.webm")])
def test_other_places(tmp_path, annotations, labels, clips, write, content, numbers, name, clip):
    write(tmp_path / "videos" / name, clips[clip])
    source = something_something_videos(tmp_path / "videos", annotations, labels)
    assert content(source) == IDS_AND_LABELS
    assert numbers(source[1], [19, 0]) == [19, 0]


def test_frames(folder, annotations, labels, write, content, numbers, complaint):
    path = write(folder / "val.csv", FRAMES)
    source = something_something_frames(folder / "frames", annotations, labels, path, {"label": 3})
    assert isinstance(source, VideoSource)
    assert source.heads == ("label",)
    assert len(source) == 3
    assert numbers(source[0]) == [0, 1, 2, 3]
    assert numbers(source[2]) == [30]
    assert [source[index].labels for index in (0, 2)] == [{"label": 1}, {"label": 0}]
    assert source[0].video.fps == 30.0
    with pytest.raises(VideoError, match=r"video 3: .*val\.csv has no frames of it"):
        source[1]
    (folder / "frames/74225/74225_000003.jpg").unlink()
    assert numbers(source[0], [3, 0]) == [3, 0]
    with pytest.raises(VideoError, match=r"74225_000003\.jpg: there is no such file"):
        numbers(source[0])
    message = complaint(something_something_frames, folder / "videos", annotations, labels, path)
    assert message.startswith(
        f"{path}: not one of its 2 annotated videos is there; looked for {folder}/videos/1000/1000_"
    )


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("[{", "(Expecting"),
        ({}, "found a json object, expected a list of objects with id and template"),
        ([], "the list is empty"),
        ([{"template": "Holding [something]"}], "entry 1: it has no id"),
        (["74225"], "entry 1: it has no id"),
        ([ENTRIES[0], {"id": "3"}], "entry 2: video '3' has no template, so that its class is not known"),
        ([{"id": "3", "template": "Eating [something]"}], "entry 1: 'Eating something' is not a class of"),
        ([ENTRIES[0], ENTRIES[1], ENTRIES[0]], "entry 3: '74225' stands in entry 1 already"),
        ([{"id": "9", "template": "Holding [something]"}], "not one of its 1 videos is in"),
    ],
)
def test_wrong_annotations(folder, labels, write, complaint, entries, words):
    path = write(folder / "other.json", entries)
    message = complaint(something_something_videos, folder / "videos", path, labels)
    assert message.startswith(f"{path}: ")
    assert words in message


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["a"], "found a json list, expected an object of class indices by class name"),
        ({}, "found an empty object"),
        ({"a": "0", "b": "2"}, "'b' has the index '2', expected 0..1 for 2 classes"),
        ({"a": "0", "b": "x"}, "'b' has the index 'x'"),
        ({"a": "1", "b": 1}, "'a' and 'b' have the same index 1"),
        ({"a": "0"}, "has 1 classes, expected 3"),
    ],
)
def test_wrong_classes(folder, annotations, write, complaint, classes, words):
    path = write(folder / "other-labels.json", classes)
    message = complaint(something_something_videos, folder / "videos", annotations, path)
    assert message.startswith(f"{path}: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ": the list is empty, expected lines such as"),
        (FRAMES.partition("\n")[2], ": line 1: '1000 0 0 1000/1000_000001.jpg"),
        (frame_list("3 0 0 3/a b.jpg x"), "line 2: 6 values, expected 5 (original_vido_id"),
        (frame_list("3 0 x 3/a.jpg 0"), "line 2: frame_id 'x' of video 3, expected ascending numbers"),
        (frame_list("3 0 1 3/a.jpg 0", "", "3 0 1 3/b.jpg 0"), "line 4: frame_id '1' of video 3 after 1, expected asc"),
        (frame_list("9 0 0 9/a.jpg 0"), ": has no frames of any of the 3 annotated videos, such as 74225"),
    ],
)
def test_wrong_frame_lists(folder, annotations, labels, write, complaint, text, words):
    path = write(folder / "val.csv", text)
    message = complaint(something_something_frames, folder / "frames", annotations, labels, path)
    assert message.startswith(str(path))
    assert words in message


def test_wrong_arguments(folder, annotations, labels, write, complaint):
    message = complaint(something_something_videos, folder / "videos", annotations, labels, {"verb": 3})
    assert "the model's heads are verb" in message
    message = complaint(something_something_videos, folder / "nowhere", annotations, labels)
    assert "nowhere: does not exist" in message
    message = complaint(something_something_videos, folder / "videos", annotations, folder / "none.json")
    assert "none.json: there is no such file" in message
    path = write(folder / "latin.json", '["ä"]', encoding="latin-1")
    assert "latin.json: is not UTF-8 text" in complaint(something_something_videos, folder / "videos", path, labels)
