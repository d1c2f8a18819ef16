"""Lists of videos: `path index`, and Kinetics' official csv file."""

import pytest

from jax_vtm.data import VideoError, VideoSource, open_videos

FOUR = {"label": 4}


def opened(folder, path, num_classes=FOUR, class_names=None, split=None):
    arguments = {"num_classes": num_classes, "class_names": class_names, "split": split}
    return open_videos("kinetics400", folder, annotations=path, **arguments)


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
    source = opened(folder, write(folder / "val.csv", newline.join(lines)))
    assert isinstance(source, VideoSource)
    assert content(source) == [("c.mp4", 3), ("air drumming/a, b.mp4", 0), ("gone.mp4", 1)]
    assert (source.heads, source.class_names) == (("label",), {})
    assert numbers(source[0]) == numbers(source[1]) == list(range(20))
    with pytest.raises(VideoError, match=r"gone\.mp4: there is no such file"):
        numbers(source[2])


def test_paths_elsewhere(folder, tmp_path_factory, clips, write, content, numbers):
    elsewhere = write(tmp_path_factory.mktemp("elsewhere") / "e.mp4", clips["50.mp4"])
    path = write(folder / "val.csv", f"{folder}/c.mp4 0\n{elsewhere} 1\ngs://bucket/folder/d.mp4 1\n")
    source = opened(f"{folder}/", path)
    assert content(source) == [("c.mp4", 0), (str(elsewhere), 1), ("gs://bucket/folder/d.mp4", 1)]
    assert numbers(source[0], [7]) == numbers(source[1], [7]) == [7]
    assert str(source[2].video) == "gs://bucket/folder/d.mp4"


def test_class_names(folder, write, content, complaint):
    names = {"label": ["walk", "run", "jump"]}
    path = write(folder / "val.csv", "c.mp4 jump\n")
    source = opened(folder, path, {"label": 3}, names)
    assert (content(source), source.class_names) == ([("c.mp4", 2)], {"label": ("walk", "run", "jump")})
    assert complaint(opened, folder, path, {"label": 4}, names) == "class names of 'label': found 3, expected 4"
    message = complaint(opened, folder, path, {"verb": 97, "noun": 300})
    assert "every video has the labels label, but the model's heads are verb and noun" in message


HEADER = "label,youtube_id,time_start,time_end,split"
ROWS = [
    "testifying,---QUuC4vJs,84,94,validate",
    '"shooting goal (soccer)",_dbc_uKJQNs,40,50,val',
    "air_drumming,3B32lodo2M0,5,1015,validate",
    "air drumming,gonegonegon,0,10,validate",
    "zumba,traintraint,0,10,train",
]


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
        ("label,youtube_id\na,b", ", line 1: no column 'time_start' and no column 'time_end' and no column 'split'"),
        ("youtube_id,time_start,time_end,split", "no column 'label' in the header"),
        (HEADER, ": has a header and no rows"),
        (f"{HEADER}\na,b,1,2", "line 2: 4 values, expected 5"),
        (f"{HEADER}\na,b,1.5,2,val", "line 2, column 'time_start': '1.5' is not a whole number of seconds"),
        (f"{HEADER}\na,b,1,,val", "line 2, column 'time_end': '' is not a whole number"),
        (f"{HEADER}\n,b,1,2,val", "line 2, column 'label': it is empty"),
        (f"{HEADER}\na,b,1,2,val\nc,b,1.0,2,val", "line 3: 'b_000001_000002' stands in line 2 already"),
        (f"{HEADER}\na,b,1,2,train", ": has 1 classes, expected 4; an index is a class's place in the alphabetical"),
        (
            "\n".join([HEADER, *ROWS]).replace("val", "test"),
            "no row has the split 'val', found 'test'; 'testidate';",
        ),
        ("\n".join([HEADER, *(f"{name},b,1,2{name},val" for name in "1234")]), "not one of its 4 videos is in"),
    ],
)
def test_wrong_lists(folder, write, complaint, text, words):
    path = write(folder / "val.csv", text)
    message = complaint(opened, folder, path, split="val")
    assert message.startswith(str(path))
    assert words in message
    write(path, "ä.mp4 0", encoding="latin-1")
    assert f"{path}: is not UTF-8 text (byte 0)" in complaint(opened, folder, path)


@pytest.fixture
def kinetics(tmp_path, clips, write):
    """The official csv file, and the folder of the videos."""
    write(tmp_path / "videos/---QUuC4vJs_000084_000094.mp4", clips["25.mp4"])
    write(tmp_path / "videos/air drumming/3B32lodo2M0_000005_001015.webm", clips["vp9.webm"])
    write(tmp_path / "videos/soccer/_dbc_uKJQNs_000040_000050.MKV")
    write(tmp_path / "videos/soccer/_dbc_uKJQNs_000040_000051.mp4")
    return tmp_path / "videos", write(tmp_path / "val.csv", "\n".join([HEADER, *ROWS]))


def test_files_of_any_suffix_anywhere_in_the_folder(kinetics, write, content, numbers):
    source = opened(*kinetics)
    assert isinstance(source, VideoSource)
    assert source.heads == ("label",)
    assert source.class_names == {"label": ("air drumming", "shooting goal (soccer)", "testifying", "zumba")}
    expected = [
        ("---QUuC4vJs_000084_000094", 2),
        ("_dbc_uKJQNs_000040_000050", 1),
        ("3B32lodo2M0_000005_001015", 0),
        ("gonegonegon_000000_000010", 0),
        ("traintraint_000000_000010", 3),
    ]
    assert content(source) == expected
    assert numbers(source[0]) == numbers(source[2]) == list(range(20))
    assert source[1].video.endswith(".MKV")
    with pytest.raises(VideoError, match="gonegonegon_000000_000010: there is no such file"):
        numbers(source[3])
    for split in ("validation", "val", "validate"):
        part = opened(*kinetics, split=split)
        assert (content(part), len(part.class_names["label"])) == (expected[:4], 4)
    # Of several files the first is taken.
    folder, _ = kinetics
    write(folder / "a/---QUuC4vJs_000084_000094.mp4")
    assert opened(*kinetics)[0].video == f"{folder}/---QUuC4vJs_000084_000094.mp4"
    write(folder / "+/---QUuC4vJs_000084_000094.webm")
    assert opened(*kinetics)[0].video == f"{folder}/+/---QUuC4vJs_000084_000094.webm"


def test_given_names_stand_for_classes_that_the_file_lacks(kinetics, content, complaint):
    names = ["zumba", "yoga", "testifying", "shooting_goal_(soccer)", "air drumming"]
    source = opened(*kinetics, {"label": 5}, {"label": names})
    assert [label for _, label in content(source)] == [2, 3, 4, 4, 0]
    message = complaint(opened, *kinetics, {"label": 4}, {"label": names[1:]})
    assert message == f"{kinetics[1]}: names 1 unknown classes: zumba"


def test_what_is_there_instead_is_named(tmp_path, kinetics, write, complaint):
    other = write(tmp_path / "other/x.mp4").parent
    assert complaint(opened, other, kinetics[1]).endswith(
        f"not one of its 5 videos is in {other}; looked for ---QUuC4vJs_000084_000094 with the suffix of a video, "
        f"found 1 others: {other}/x.mp4"
    )
    other.joinpath("x.mp4").unlink()
    assert complaint(opened, other, kinetics[1]).endswith("found no videos at all")


def test_ucf101s_official_lists(tmp_path, clips, write, content):
    for name in ("Surfing/v_1.avi", "Archery/v_2.avi"):
        write(tmp_path / name, clips["25.mp4"])
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 Surfing\r\n2 Archery\r\n")
    write(lists / "trainlist01.txt", "Surfing/v_1.avi 1\r\nArchery/v_3.avi 2\r\n")
    write(lists / "testlist01.txt", "Archery/v_2.avi\r\n")
    for annotations, split, expected in (
        (lists, "train", [("Surfing/v_1.avi", 0), ("Archery/v_3.avi", 1)]),
        (lists, None, [("Archery/v_2.avi", 1)]),
        (lists / "trainlist01.txt", None, [("Surfing/v_1.avi", 0), ("Archery/v_3.avi", 1)]),
    ):
        source = opened(tmp_path, annotations, {"label": 2}, split=split)
        assert content(source) == expected
        assert source.class_names == {"label": ("Surfing", "Archery")}
    with pytest.raises(ValueError, match=r"classInd.txt: has 2 lines, expected '1 NAME' to '4 NAME'"):
        opened(tmp_path, lists)
    write(lists / "trainlist01.txt", "Surfing/v_1.avi 2\n")
    with pytest.raises(ValueError, match=r"trainlist01.txt: line 1: 'Surfing/v_1.avi 2' is not a path such as"):
        opened(tmp_path, lists, {"label": 2}, split="train")
    (lists / "classInd.txt").unlink()
    with pytest.raises(ValueError, match=r"classInd.txt: there is no such file"):
        opened(tmp_path, lists, {"label": 2})
