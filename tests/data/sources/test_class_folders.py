import pytest

from jax_vtm.data import open_videos
from jax_vtm.data.source import VideoSource

MANY = {"label": 4}


def class_folders(folder, num_classes=MANY):
    return open_videos("kinetics400", folder, num_classes=num_classes)


@pytest.fixture
def folder(tmp_path, clips, write):
    # "_" comes after capitals and " " before them: only as the same character do they give one order.
    for name in ("run_Away/b.mp4", "run Zigzag/a.webm", "runAround/x/c.mp4", ".trash/d.mp4"):
        write(tmp_path / name, clips["vp9.webm" if name.endswith("webm") else "50.mp4"])
    (tmp_path / "empty").mkdir()
    write(tmp_path / "notes.txt")
    return tmp_path


def test_indices_follow_the_names_of_all_folders(folder, content, numbers):
    source = class_folders(folder, {"label": 4})
    assert isinstance(source, VideoSource)
    assert source.heads == ("label",)
    assert source.class_names == {"label": ("empty", "run Away", "run Zigzag", "runAround")}
    assert content(source) == [("run Zigzag/a.webm", 2), ("runAround/x/c.mp4", 3), ("run_Away/b.mp4", 1)]
    assert [numbers(source[index], [0, 19]) for index in range(3)] == [[0, 19]] * 3
    assert content(class_folders(folder)) == content(source)


def test_problems(folder, write, complaint):
    message = complaint(class_folders, folder, {"label": 400})
    assert f"video folder {folder}: has 4 classes, expected 400; an index is a class's place in" in message
    assert "the model's heads are verb" in complaint(class_folders, folder, {"verb": 4})
    write(folder / "run Away/z.mp4")
    assert "two folders for one class: run Away" in complaint(class_folders, folder)
    write(folder / "z.mp4")
    message = complaint(class_folders, folder)
    assert "1 of 5 videos lie in no class folder: z.mp4; expected one folder per class, or a list" in message
    assert "holds no videos (.mp4, .webm, .avi and" in complaint(class_folders, folder / "empty")
    assert "does not exist" in complaint(class_folders, folder / "nowhere")
