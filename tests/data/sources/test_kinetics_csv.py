import pytest

from jax_vtm.data import open_videos
from jax_vtm.data.source import VideoError, VideoSource

FOUR = {"label": 4}


def kinetics_csv(folder, path, num_classes=FOUR, class_names=None, split=None):
    arguments = {"num_classes": num_classes, "class_names": class_names, "split": split}
    return open_videos("kinetics400", folder, annotations=path, **arguments)


HEADER = "label,youtube_id,time_start,time_end,split"
ROWS = [
    "testifying,---QUuC4vJs,84,94,validate",
    '"shooting goal (soccer)",_dbc_uKJQNs,40,50,val',
    "air_drumming,3B32lodo2M0,5,1015,validate",
    "air drumming,gonegonegon,0,10,validate",
    "zumba,traintraint,0,10,train",
]


@pytest.fixture
def folder(tmp_path, clips, write):
    write(tmp_path / "videos/---QUuC4vJs_000084_000094.mp4", clips["25.mp4"])
    write(tmp_path / "videos/air drumming/3B32lodo2M0_000005_001015.webm", clips["vp9.webm"])
    write(tmp_path / "videos/soccer/_dbc_uKJQNs_000040_000050.MKV")
    write(tmp_path / "videos/soccer/_dbc_uKJQNs_000040_000051.mp4")
    return tmp_path / "videos"


@pytest.fixture
def annotations(tmp_path, write):
    return write(tmp_path / "val.csv", "\n".join([HEADER, *ROWS]))


def test_files_of_any_suffix_anywhere_in_the_folder(folder, annotations, content, numbers):
    source = kinetics_csv(folder, annotations, {"label": 4})
    assert isinstance(source, VideoSource)
    assert source.heads == ("label",)
    assert source.class_names == {"label": ("air drumming", "shooting goal (soccer)", "testifying", "zumba")}
    assert content(source) == [
        ("---QUuC4vJs_000084_000094", 2),
        ("_dbc_uKJQNs_000040_000050", 1),
        ("3B32lodo2M0_000005_001015", 0),
        ("gonegonegon_000000_000010", 0),
        ("traintraint_000000_000010", 3),
    ]
    assert numbers(source[0]) == numbers(source[2]) == list(range(20))
    assert source[1].video.endswith(".MKV")
    with pytest.raises(VideoError, match="gonegonegon_000000_000010: there is no such file"):
        numbers(source[3])


@pytest.mark.parametrize("split", ["validation", "val", "validate"])
def test_the_classes_are_those_of_all_splits(folder, annotations, content, split):
    source = kinetics_csv(folder, annotations, {"label": 4}, split=split)
    assert content(source) == content(kinetics_csv(folder, annotations))[:4]
    assert len(source.class_names["label"]) == 4


def test_of_several_files_the_first_is_taken(folder, annotations, write):
    write(folder / "a/---QUuC4vJs_000084_000094.mp4")
    assert kinetics_csv(folder, annotations)[0].video == f"{folder}/---QUuC4vJs_000084_000094.mp4"
    write(folder / "+/---QUuC4vJs_000084_000094.webm")
    assert kinetics_csv(folder, annotations)[0].video == f"{folder}/+/---QUuC4vJs_000084_000094.webm"


def test_given_names_stand_for_classes_that_the_file_lacks(folder, annotations, content, complaint):
    names = ["zumba", "yoga", "testifying", "shooting_goal_(soccer)", "air drumming"]
    source = kinetics_csv(folder, annotations, {"label": 5}, {"label": names})
    assert [label for _, label in content(source)] == [2, 3, 4, 4, 0]
    message = complaint(kinetics_csv, folder, annotations, {"label": 4}, {"label": names[1:]})
    assert message == f"{annotations}: names 1 unknown classes: zumba"
    message = complaint(kinetics_csv, folder, annotations, {"label": 3}, {"label": names})
    assert message == "class names of 'label': found 5, expected 3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,youtube_id\na,b", ", line 1: no column 'time_start' and no column 'time_end' and no column 'split'"),
        ("youtube_id,time_start,time_end,split", "no column 'label' in the header"),
        (HEADER, ": has a header and no rows"),
        ("", ": the list is empty, expected lines such as"),
        (f"{HEADER}\na,b,1,2", "line 2: 4 values, expected 5"),
        (f"{HEADER}\na,b,1.5,2,val", "line 2, column 'time_start': '1.5' is not a whole number of seconds"),
        (f"{HEADER}\na,b,1,,val", "line 2, column 'time_end': '' is not a whole number"),
        (f"{HEADER}\n,b,1,2,val", "line 2, column 'label': it is empty"),
        (f"{HEADER}\na,b,1,2,val\nc,b,1.0,2,val", "line 3: 'b_000001_000002' stands in line 2 already"),
        (f"{HEADER}\na,b,1,2,train", ": has 1 classes, expected 4; an index is a class's place in the alphabetical"),
        (
            "\n".join([HEADER, *ROWS]).replace("val", "test"),
            "no row has the split 'val', found 'test'; 'testidate'; 'tr",
        ),
        (
            "\n".join([HEADER, *(f"{name},b,1,2{name},val" for name in "1234")]),
            "not one of its 4 videos is in",
        ),
    ],
)
def test_wrong_files(folder, tmp_path, write, complaint, text, words):
    path = write(tmp_path / "val.csv", text)
    message = complaint(kinetics_csv, folder, path, {"label": 4}, split="val")
    assert message.startswith(str(path))
    assert words in message


def test_what_is_there_instead_is_named(tmp_path, annotations, write, complaint):
    other = write(tmp_path / "other/x.mp4").parent
    message = complaint(kinetics_csv, other, annotations)
    assert message.endswith(
        f"not one of its 5 videos is in {other}; looked for ---QUuC4vJs_000084_000094 with the suffix of a video, "
        f"found 1 others: {other}/x.mp4"
    )
    other.joinpath("x.mp4").unlink()
    assert complaint(kinetics_csv, other, annotations).endswith("found no videos at all")
