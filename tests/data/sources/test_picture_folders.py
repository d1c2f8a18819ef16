import shutil

import pytest

from jax_vtm.data import open_videos
from jax_vtm.data.source import VideoError, VideoSource


@pytest.fixture
def folder(tmp_path, write, write_pictures):
    write_pictures(tmp_path / "b", ["1.jpg", "2.jpg", "9.jpg", "10.jpg", "11.png"])
    write_pictures(tmp_path / "a/x", ["frame_0001.JPG", "frame_0002.jpg", "frame_0003.jpeg"], first=40)
    write(tmp_path / "b/.thumbnail.jpg")
    write(tmp_path / "b/notes.txt")
    write(tmp_path / "cover.jpg")
    return tmp_path


def test_each_folder_with_pictures_is_a_video(folder, numbers):
    source = open_videos("folder", folder)
    assert isinstance(source, VideoSource)
    assert [source[index].id for index in range(len(source))] == ["a/x", "b"]
    assert source.heads == ()
    assert numbers(source[0]) == [40, 41, 42]
    assert numbers(source[1]) == [0, 1, 2, 3, 4]


def test_a_folder_may_be_called_as_a_video(tmp_path, numbers, write_pictures):
    write_pictures(tmp_path / "clip.mp4", ["1.jpg", "2.jpg"])
    (tmp_path / "none.mp4").mkdir()
    source = open_videos("folder", tmp_path)
    assert [source[index].id for index in range(len(source))] == ["clip.mp4", "none.mp4"]
    assert numbers(source[0]) == [0, 1]
    with pytest.raises(VideoError, match=r"video none\.mp4: "):
        numbers(source[1])


def test_labels(folder, write, content, complaint):
    write(folder / "labels.csv", "video,label\nb,1\na/x,0\n")
    assert content(open_videos("folder", folder, num_classes={"label": 2})) == [("a/x", 0), ("b", 1)]
    path = write(folder / "labels.csv", "video,label\nb,1\na,0\n")
    message = complaint(open_videos, "folder", folder)
    assert message.startswith(f"{path}: 1 of 2 rows name a video that is not in {folder}: a; expected paths relative")


def test_a_folder_that_goes_away_fails_alone(folder):
    source = open_videos("folder", folder)
    shutil.rmtree(folder / "b")
    assert source[0].id == "a/x"
    with pytest.raises(VideoError, match=r"video b: .*b: cannot be read"):
        source[1]


def test_no_pictures(folder, complaint):
    shutil.rmtree(folder / "a")
    shutil.rmtree(folder / "b")
    assert "nor folders with pictures (.jpeg, .jpg, .png)" in complaint(open_videos, "folder", folder)
