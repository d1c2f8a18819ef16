import pytest

from jax_vtm.data import open_videos
from jax_vtm.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Empty files suffice: a folder does not look into its videos."""
    for name in ("b.mp4", "a/2.webm", "a/10.MKV", "a/c/x y.avi", ".hidden.mp4", ".cache/z.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


IDS = ["a/10.MKV", "a/2.webm", "a/c/x y.avi", "b.mp4"]


def write(folder, text, name="labels.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def complaint(folder, **kwargs):
    with pytest.raises(UserError) as caught:
        open_videos("folder", folder, **kwargs)
    return str(caught.value)


def table(*rows, header="video,label"):
    return "\n".join([header, *rows]) + "\n"


def rows_with(**changes):
    return [changes.get(name.split(".")[0][-1], f"{name},0") for name in IDS]


def test_ids_are_sorted_relative_paths(folder):
    source = open_videos("folder", folder)
    assert [source[index].id for index in range(len(source))] == IDS
    assert str(source[1].video) == str(folder / "a" / "2.webm")
    assert source.heads == ()
    assert source.class_names == {}
    assert source[0].labels == {}


def test_labels_csv_is_found(folder):
    write(folder, table("b.mp4,3", "./a/2.webm,1", "a/10.MKV,0", "a/c/x y.avi,2"))
    source = open_videos("folder", folder, num_classes={"label": 4})
    assert source.heads == ("label",)
    assert [item.labels["label"] for item in source] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("encoding", "comma", "newline"), [("utf-8", ",", "\n"), ("utf-8-sig", ", ", "\r\n"), ("utf-8", " , ", "\r")]
)
def test_two_heads_by_index_or_name_in_another_file(folder, encoding, comma, newline):
    rows = [
        "noun,video,note,verb",
        "öl,b.mp4,,run",
        "",
        "1,a/2.webm,x,0",
        "0,a/10.MKV,x,1",
        "1,a/c/x y.avi,x,walk",
    ]
    path = write(folder, newline.join(rows).replace(",", comma), "other.csv", encoding)
    names = {"verb": ["walk", "run"], "noun": ["pan", "öl"]}
    source = open_videos("folder", folder, annotations=path, num_classes={"verb": 2, "noun": 2}, class_names=names)
    assert source.heads == ("verb", "noun")
    assert source.class_names == {"verb": ("walk", "run"), "noun": ("pan", "öl")}
    assert [item.labels for item in source] == [
        {"verb": 1, "noun": 0},
        {"verb": 0, "noun": 1},
        {"verb": 0, "noun": 1},
        {"verb": 1, "noun": 1},
    ]


def test_without_known_heads_every_column_is_one(folder):
    write(folder, table(*(f"{name},7,1000000" for name in IDS), header="video,verb,noun"))
    assert open_videos("folder", folder)[0].labels == {"verb": 7, "noun": 1000000}


def test_folder_problems(tmp_path):
    assert "does not exist" in complaint(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "there is not a single record in 1 file" in complaint(tmp_path / "file")
    assert "holds neither videos (.mp4" in complaint(tmp_path)


def test_missing_or_unreadable_csv(folder):
    assert "nothing.csv: there is no such file" in complaint(folder, annotations=folder / "nothing.csv")
    for text, encoding, words in (
        ("video,label\nä,1\n", "latin-1", "is not UTF-8 text"),
        ('video,label\n"a"b,1\n', "utf-8", "line 2: is not comma-separated text"),
        ("\n", "utf-8", "the file is empty, expected a header line 'video,label'"),
    ):
        assert words in complaint(folder, annotations=write(folder, text, encoding=encoding))


@pytest.mark.parametrize(
    ("header", "num_classes", "words"),
    [
        ("name,label", {"label": 4}, "line 1: no column 'video' in the header (found 'name', 'label')"),
        (
            "video;label",
            {"label": 4},
            "no column 'video' and no column 'label' in the header (found 'video;label')",
        ),
        ("video,verb", {"verb": 4, "noun": 4}, "no column 'noun' in the header"),
        ("video,noun", {"verb": 4, "noun": 4}, "expected 'video,verb,noun'"),
        ("video,label,label", {"label": 4}, "names 'label' twice"),
        ("video", None, "no column with labels"),
    ],
)
def test_header_problems(folder, header, num_classes, words):
    path = write(folder, table(*IDS, header=header))
    message = complaint(folder, num_classes=num_classes)
    assert message.startswith(str(path))
    assert words in message


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
def test_row_problems(folder, row, words):
    write(folder, table(*rows_with(b=row)))
    names = {"label": ["walk", "run", "jump", "sit"]}
    assert words in complaint(folder, num_classes={"label": 4}, class_names=names)


def test_class_names_bound_the_index(folder):
    write(folder, table(*rows_with(b="b.mp4,2")))
    assert "expected an index 0..1 or a class name" in complaint(folder, class_names={"label": ["a", "b"]})


def test_names_that_look_like_indices(folder):
    write(folder, table(*rows_with(b="b.mp4,1")))
    assert open_videos("folder", folder, class_names={"label": ["0", "1"]})[3].labels == {"label": 1}
    assert open_videos("folder", folder, class_names={"label": ["0", "2"]})[3].labels == {"label": 1}
    message = complaint(folder, class_names={"label": ["1", "0"]})
    assert "'1' is both an index and the name of class 0" in message


def test_class_names_have_to_match_the_classes(folder):
    message = complaint(folder, num_classes={"label": 3}, class_names={"label": ["a", "b"]})
    assert message == "class names of 'label': found 2, expected 3"


def test_all_problems_are_counted_and_the_first_are_shown(folder):
    write(folder, table(*(f"v{number}.mp4,9" for number in range(8))))
    message = complaint(folder, num_classes={"label": 4})
    assert message.count("'9' is not a class") == 5
    assert message.endswith("; and 3 more")


def test_every_video_needs_a_row(folder):
    path = write(folder, table("b.mp4,1"))
    message = complaint(folder, num_classes={"label": 4})
    assert message.startswith(f"{path}: has no row for 3 of the 4 videos")
    assert "a/10.MKV; a/2.webm; a/c/x y.avi" in message
