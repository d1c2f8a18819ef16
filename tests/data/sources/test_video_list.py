import pytest

from jax_vtm.data import open_videos
from jax_vtm.data.source import VideoError, VideoSource


def video_list(folder, path, num_classes=None, class_names=None):
    return open_videos("kinetics400", folder, annotations=path, num_classes=num_classes, class_names=class_names)


@pytest.fixture
def folder(tmp_path, clips, write):
    write(tmp_path / "air drumming/a, b.mp4", clips["29.97.mp4"])
    write(tmp_path / "c.mp4", clips["25.mp4"])
    write(tmp_path / "unlisted.mp4", clips["25.mp4"])
    return tmp_path


@pytest.mark.parametrize(
    "lines",
    [
        ["c.mp4 3", "air drumming/a, b.mp4 0", "gone.mp4 1"],
        ["c.mp4,3", "air drumming/a, b.mp4,0", "gone.mp4,1"],
        ["c.mp4\t3", "", "air drumming/a, b.mp4\t 0", " gone.mp4 , 1 "],
        ["./c.mp4 3", '"air drumming/a, b.mp4" 0', '"gone.mp4",1'],
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_list_says_which_videos_in_which_order(folder, write, content, numbers, lines, newline):
    path = write(folder / "val.csv", newline.join(lines))
    source = video_list(folder, path, {"label": 4})
    assert isinstance(source, VideoSource)
    assert content(source) == [("c.mp4", 3), ("air drumming/a, b.mp4", 0), ("gone.mp4", 1)]
    assert source.heads == ("label",)
    assert source.class_names == {}
    assert numbers(source[0]) == numbers(source[1]) == list(range(20))
    with pytest.raises(VideoError, match=r"gone\.mp4: there is no such file"):
        numbers(source[2])


def test_absolute_paths_become_relative_ids(folder, tmp_path_factory, clips, write, content, numbers):
    elsewhere = write(tmp_path_factory.mktemp("elsewhere") / "e.mp4", clips["50.mp4"])
    path = write(folder / "val.csv", f"{folder}/c.mp4 0\n{elsewhere} 1\n")
    source = video_list(f"{folder}/", path)
    assert content(source) == [("c.mp4", 0), (str(elsewhere), 1)]
    assert numbers(source[0], [7]) == numbers(source[1], [7]) == [7]


def test_addresses_in_remote_storage_are_kept(folder, write, content):
    path = write(folder / "val.csv", "c.mp4 0\ngs://bucket/folder/d.mp4 1\n")
    source = video_list(folder, path)
    assert content(source)[1] == ("gs://bucket/folder/d.mp4", 1)
    assert str(source[1].video) == "gs://bucket/folder/d.mp4"


def test_class_names(folder, write, content):
    names = ["walk", "run", "jump"]
    path = write(folder / "val.csv", "c.mp4 jump\n")
    source = video_list(folder, path, {"label": 3}, {"label": names})
    assert content(source) == [("c.mp4", 2)]
    assert source.class_names == {"label": tuple(names)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("c.mp4 4", "line 1: '4' is not a class, expected an index 0..3"),
        ("c.mp4 1\nd.mp4 -1", "line 2: '-1' is not a class"),
        ("c.mp4 1.5", "'1.5' is not a class"),
        ("path,label\nc.mp4,1", "line 1: 'label' is not a class"),
        ("c.mp4", "line 1: 'c.mp4' is not a path and a class index with a space or a comma between them"),
        ("c.mp4 1\n\nc.mp4 2", "line 3: 'c.mp4' stands in line 1 already"),
        ("c.mp4 1\n./c.mp4 1", "line 2: 'c.mp4' stands in line 1 already"),
        ("\n \n", "the list is empty, expected lines such as 'abseiling/xyz.mp4 0'"),
        ("x/c.mp4 1\nx/d.mp4 1", "not one of its 2 videos is there; looked for"),
    ],
)
def test_wrong_lists(folder, write, complaint, text, words):
    path = write(folder / "val.csv", text)
    message = complaint(video_list, folder, path, {"label": 4})
    assert message.startswith(str(path))
    assert words in message


def test_wrong_arguments(folder, write, complaint):
    path = write(folder / "val.csv", "ä.mp4 0", encoding="latin-1")
    assert f"{path}: is not UTF-8 text (byte 0)" in complaint(video_list, folder, path)
    assert "nothing.csv: there is no such file" in complaint(video_list, folder, folder / "nothing.csv")
    assert "nowhere: does not exist" in complaint(video_list, folder / "nowhere", path)
    path = write(folder / "val.csv", "c.mp4 0")
    message = complaint(video_list, folder, path, {"verb": 97, "noun": 300})
    assert "every video has the labels label, but the model's heads are verb and noun" in message
    message = complaint(video_list, folder, path, {"label": 3}, {"label": ["a"]})
    assert message == "class names of 'label': found 1, expected 3"
