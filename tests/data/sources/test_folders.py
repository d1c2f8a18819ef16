"""Folders of video files or of pictures, with labels or without, and one folder per class."""

import shutil

import pytest

from jax_vtm.data import VideoError, VideoSource, open_videos

IDS = ["a/10.MKV", "a/2.webm", "a/c/x y.avi", "b.mp4"]


@pytest.fixture
def folder(tmp_path, write):
    """Empty files suffice: a folder does not look into its videos."""
    for name in (*IDS, ".hidden.mp4", ".cache/z.mp4", "notes.txt"):
        write(tmp_path / name)
    return tmp_path


def table(*rows, header="video,label"):
    return "\n".join([header, *rows]) + "\n"


def rows_with(**changes):
    return [changes.get(name.split(".")[0][-1], f"{name},0") for name in IDS]


def test_ids_are_sorted_relative_paths(folder):
    source = open_videos("folder", folder)
    assert [item.id for item in source] == IDS
    assert str(source[1].video) == str(folder / "a" / "2.webm")
    assert (source.heads, source.class_names, source[0].labels) == ((), {}, {})


def test_labels_csv_is_found(folder, write):
    write(folder / "labels.csv", table("b.mp4,3", "./a/2.webm,1", "a/10.MKV,0", "a/c/x y.avi,2"))
    source = open_videos("folder", folder, num_classes={"label": 4})
    assert source.heads == ("label",)
    assert [item.labels["label"] for item in source] == [0, 1, 2, 3]
    write(folder / "labels.csv", table(*(f"{name},7,1000000" for name in IDS), header="video,verb,noun"))
    assert open_videos("folder", folder)[0].labels == {"verb": 7, "noun": 1000000}


@pytest.mark.parametrize(
    ("encoding", "comma", "newline"), [("utf-8", ",", "\n"), ("utf-8-sig", ", ", "\r\n"), ("utf-8", " , ", "\r")]
)
def test_two_heads_by_index_or_name_in_another_file(folder, write, encoding, comma, newline):
    rows = [
        *("noun,video,note,verb", "öl,b.mp4,,run", "", "1,a/2.webm,x,0", "0,a/10.MKV,x,1"),
        "1,a/c/x y.avi,x,walk",
    ]
    path = write(folder / "other.csv", newline.join(rows).replace(",", comma), encoding)
    names = {"verb": ["walk", "run"], "noun": ["pan", "öl"]}
    source = open_videos("folder", folder, annotations=path, num_classes={"verb": 2, "noun": 2}, class_names=names)
    assert source.heads == ("verb", "noun")
    assert source.class_names == {"verb": ("walk", "run"), "noun": ("pan", "öl")}
    assert [(item.labels["verb"], item.labels["noun"]) for item in source] == [(1, 0), (0, 1), (0, 1), (1, 1)]


def test_folder_problems(tmp_path, write, complaint):
    assert "does not exist" in complaint(open_videos, "folder", tmp_path / "nowhere")
    assert "there is not a single record in 1 file" in complaint(open_videos, "folder", write(tmp_path / "file"))
    assert "holds neither videos (.mp4" in complaint(open_videos, "folder", tmp_path)
    message = complaint(open_videos, "folder", tmp_path, annotations=tmp_path / "no.csv")
    assert "no.csv: there is no such file" in message


@pytest.mark.parametrize(
    ("text", "num_classes", "words"),
    [
        ('video,label\n"a"b,1\n', {"label": 4}, "line 2: is not comma-separated text"),
        ("\n", {"label": 4}, "the file is empty, expected a header line 'video,label'"),
        ("name,label\na,0", {"label": 4}, "line 1: no column 'video' in the header (found 'name', 'label')"),
        ("video;label\na,0", {"label": 4}, "no column 'video' and no column 'label' in the header (found 'video;lab"),
        ("video,verb\na,0", {"verb": 4, "noun": 4}, "no column 'noun' in the header"),
        ("video,noun\na,0", {"verb": 4, "noun": 4}, "expected 'video,verb,noun'"),
        ("video,label,label\na,0,0", {"label": 4}, "names 'label' twice"),
        ("video\na", None, "no column with labels"),
    ],
)
def test_files_of_labels_that_are_none(folder, write, complaint, text, num_classes, words):
    path = write(folder / "labels.csv", text)
    message = complaint(open_videos, "folder", folder, num_classes=num_classes)
    assert message.startswith(str(path))
    assert words in message
    write(path, "video,label\nä,1\n", "latin-1")
    assert "is not UTF-8 text" in complaint(open_videos, "folder", folder)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b.mp4,4", "line 5, column 'label': '4' is not a class, expected an index 0..3 or a class name"),
        ("b.mp4,-1", "'-1' is not a class"),
        ("b.mp4,1.0", "'1.0' is not a class"),
        ("b.mp4,", "'' is not a class"),
        ("b.mp4,swim", "'swim' is not a class"),
        ("b.mp4,1,2", "line 5: 3 values, expected 2 (video, label)"),
        ("b.mp4", "line 5: 1 values, expected 2"),
        ("a/2.webm,1", "line 5: 'a/2.webm' stands in line 3 already"),
        (",1", "line 5: no video is named"),
        ("b.mov,1", "1 of 4 rows name a video that is not in"),
        ("../b.mp4,1", "1 of 4 rows name a video that is not in"),
    ],
)
def test_row_problems(folder, write, complaint, row, words):
    write(folder / "labels.csv", table(*rows_with(b=row)))
    names = {"label": ["walk", "run", "jump", "sit"]}
    assert words in complaint(open_videos, "folder", folder, num_classes={"label": 4}, class_names=names)


def test_names_that_look_like_indices(folder, write, complaint):
    write(folder / "labels.csv", table(*rows_with(b="b.mp4,1")))
    for names in (["0", "1"], ["0", "2"]):
        assert open_videos("folder", folder, class_names={"label": names})[3].labels == {"label": 1}
    message = complaint(open_videos, "folder", folder, class_names={"label": ["1", "0"]})
    assert "'1' is both an index and the name of class 0" in message
    write(folder / "labels.csv", table(*rows_with(b="b.mp4,2")))
    message = complaint(open_videos, "folder", folder, class_names={"label": ["a", "b"]})
    assert "expected an index 0..1 or a class name" in message
    message = complaint(open_videos, "folder", folder, num_classes={"label": 3}, class_names={"label": ["a", "b"]})
    assert message == "class names of 'label': found 2, expected 3"


def test_all_problems_are_counted_and_the_first_are_shown(folder, write, complaint):
    path = write(folder / "labels.csv", table(*(f"v{number}.mp4,9" for number in range(8))))
    message = complaint(open_videos, "folder", folder, num_classes={"label": 4})
    assert message.count("'9' is not a class") == 5
    assert message.endswith("; and 3 more")
    write(path, table("b.mp4,1"))
    message = complaint(open_videos, "folder", folder, num_classes={"label": 4})
    assert message.startswith(f"{path}: has no row for 3 of the 4 videos")
    assert "a/10.MKV; a/2.webm; a/c/x y.avi" in message


@pytest.fixture
def pictures(tmp_path, write, write_pictures):
    """Two folders of pictures."""
    write_pictures(tmp_path / "b", ["1.jpg", "2.jpg", "9.jpg", "10.jpg", "11.png"])
    write_pictures(tmp_path / "a/x", ["frame_0001.JPG", "frame_0002.jpg", "frame_0003.jpeg"], first=40)
    for name in ("b/.thumbnail.jpg", "b/notes.txt", "cover.jpg"):
        write(tmp_path / name)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*left out files that are no videos")
def test_each_folder_with_pictures_is_a_video(pictures, write, content, numbers, complaint):
    source = open_videos("folder", pictures)
    assert isinstance(source, VideoSource)
    assert ([item.id for item in source], source.heads) == (["a/x", "b"], ())
    assert (numbers(source[0]), numbers(source[1])) == ([40, 41, 42], [0, 1, 2, 3, 4])
    path = write(pictures / "labels.csv", "video,label\nb,1\na/x,0\n")
    assert content(open_videos("folder", pictures, num_classes={"label": 2})) == [("a/x", 0), ("b", 1)]
    write(path, "video,label\nb,1\na,0\n")
    message = complaint(open_videos, "folder", pictures)
    assert message.startswith(f"{path}: 1 of 2 rows name a video that is not in {pictures}: a; expected paths relative")
    shutil.rmtree(pictures / "b")
    with pytest.raises(VideoError, match=r"video b: .*1\.jpg: there is no such file"):
        numbers(source[1])
    assert source[0].id == "a/x"
    shutil.rmtree(pictures / "a")
    path.unlink()
    assert "nor folders with pictures (.jpeg, .jpg, .png)" in complaint(open_videos, "folder", pictures)


def test_a_folder_may_be_called_as_a_video(tmp_path, numbers, write_pictures):
    write_pictures(tmp_path / "clip.mp4", ["1.jpg", "2.jpg"])
    (tmp_path / "none.mp4").mkdir()
    source = open_videos("folder", tmp_path)
    assert source[0].id == "clip.mp4"
    assert numbers(source[0]) == [0, 1]
    with pytest.raises(VideoError, match=r"video none\.mp4: "):
        numbers(source[1])


def class_folders(folder, num_classes):
    return open_videos("kinetics400", folder, num_classes={"label": num_classes})


def test_one_folder_per_class(tmp_path, clips, write, content, numbers, complaint):
    # "_" comes after capitals and " " before them: only as the same character do they give one order.
    for name in ("run_Away/b.mp4", "run Zigzag/a.webm", "runAround/x/c.mp4", ".trash/d.mp4"):
        write(tmp_path / name, clips["vp9.webm" if name.endswith("webm") else "50.mp4"])
    (tmp_path / "empty").mkdir()
    source = class_folders(tmp_path, 4)
    assert isinstance(source, VideoSource)
    assert source.class_names == {"label": ("empty", "run Away", "run Zigzag", "runAround")}
    assert content(source) == [("run Zigzag/a.webm", 2), ("runAround/x/c.mp4", 3), ("run_Away/b.mp4", 1)]
    assert [numbers(item, [0, 19]) for item in source] == [[0, 19]] * 3
    assert f"video folder {tmp_path}: has 4 classes, expected 400; an index is" in complaint(
        class_folders, tmp_path, 400
    )
    message = complaint(open_videos, "kinetics400", tmp_path, num_classes={"verb": 4})
    assert "the model's heads are verb" in message
    write(tmp_path / "run Away/z.mp4")
    assert "two folders for one class: run Away" in complaint(class_folders, tmp_path, 4)
    write(tmp_path / "z.mp4")
    message = complaint(class_folders, tmp_path, 4)
    assert "1 of 5 videos lie in no class folder: z.mp4; expected one folder per class, or a list" in message
    assert "holds no videos (.mp4, .webm, .avi and" in complaint(class_folders, tmp_path / "empty", 4)
