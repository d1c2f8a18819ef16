import json
import pickle

import pytest

from jax_vtm.data import open_videos
from jax_vtm.data.source import Pictures, VideoError, VideoSource


def epic_kitchens(folder, path, num_classes=None, timestamps="exact"):
    return open_videos("epic_kitchens_100", folder, annotations=path, num_classes=num_classes, timestamps=timestamps)


HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def row(name, video, start, stop, verb=0, noun=0):
    participant = video.partition("_")[0]
    return (
        f"{name},{participant},{video},00:00:00.560,{start},{stop},8,202,take plate,take,{verb},plate,{noun},"
        "\"['plate', 'cup']\",\"[2, 10]\""
    )


ROWS = [
    row("P01_01_0", "P01_01", "00:00:00.10", "00:00:00.20", 3, 299),
    row("P01_101_7", "P01_101", "00:00:00.10", "00:00:00.30", 96, 1),
    row("P22_07_1", "P22_07", "00:00:00.00", "00:00:00.05"),
]
IDS = ["P01_01_0", "P01_101_7", "P22_07_1"]


def table(*rows):
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.fixture
def annotations(tmp_path, write):
    return write(tmp_path / "EPIC_100_validation.csv", table(*ROWS))


@pytest.mark.parametrize(
    ("timestamp", "exact", "reference"),
    [
        ("00:00:01.9", 1.9, 1.09),
        ("00:00:01.05", 1.05, 1.05),
        ("00:00:01.250", 1.25, 3.5),
        ("00:10:00", 600, 600),
        ("12:00:59.99", 43259.99, 43259.99),
        *(
            (text, None, None)
            for text in ("", "1.5", "00:01", "00:60:00.0", "00:00:60", "00:00:01.", "-00:00:01", "nan")
        ),
    ],
)
def test_timestamps(tmp_path, write, golden, complaint, timestamp, exact, reference):
    write(tmp_path / "P01_01.MP4")

    def seconds(text, reading):
        path = write(tmp_path / "one.csv", table(row("x", "P01_01", text, "9999:00:00")))
        return epic_kitchens(tmp_path, path, timestamps=reading)[0].span[0]

    if exact is None:
        expected = f"column 'start_timestamp': {timestamp!r} is not a time such as 00:01:02.34"
        assert expected in complaint(seconds, timestamp, "exact")
        return
    assert (seconds(timestamp, "exact"), seconds(timestamp, "reference")) == (exact, reference)
    cases = json.loads((golden / "torch" / "preprocess.json").read_text())["epickitchens_timestamp_to_sec"]
    assert len(cases) == 4
    for case in cases:
        assert seconds(case["t"], "reference") == case["sec"]
        if len(case["t"].rpartition(".")[2]) == 2:
            assert seconds(case["t"], "exact") == case["sec"]


def frame_numbers(item):
    return [int(str(path)[-14:-4]) for path in item.video.frames]


@pytest.mark.parametrize("layout", ["{participant}/rgb_frames/{video}", "rgb/{participant}/{video}"])
def test_pictures_in_either_order_of_folders(tmp_path, annotations, write_pictures, numbers, layout):
    for video in ("P01_01", "P01_101"):
        names = [f"frame_{number:010d}.jpg" for number in range(1, 21)]
        write_pictures(tmp_path / layout.format(participant="P01", video=video), names)
    source = epic_kitchens(tmp_path, annotations)
    assert isinstance(source, VideoSource)
    assert source.heads == ("verb", "noun")
    assert source.class_names == {}
    assert [source[index].id for index in range(len(source))] == IDS
    assert [dict(source[index].labels) for index in range(2)] == [{"verb": 3, "noun": 299}, {"verb": 96, "noun": 1}]
    # 0.1 s to 0.2 s are, counted from 0, the frames 6 to 11 of 60 in a second, 0.1 s to 0.3 s the frames 5 to 14 of 50.
    assert [source[index].video.fps for index in range(2)] == [60, 50]
    assert numbers(source[0]) == list(range(6, 12))
    assert numbers(source[1]) == list(range(5, 15))
    assert frame_numbers(source[1]) == list(range(6, 16))
    with pytest.raises(VideoError, match=r"video P22_07_1: .*/P22_07/frame_0000000001\.jpg: there is no such file"):
        numbers(source[2])


def test_index_0_is_the_first_picture_that_the_reference_reads(tmp_path, golden, write):
    cases = json.loads((golden / "torch" / "preprocess.json").read_text())["epickitchens_frames"]
    for case in cases:
        order = "{0}/rgb_frames/{1}" if case["participant_first"] else "rgb/{0}/{1}"
        root = tmp_path / str(case["participant_first"])
        (root / order.format(case["video_id"][:3], case["video_id"])).mkdir(parents=True, exist_ok=True)
        path = write(tmp_path / "one.csv", table(row("x", case["video_id"], case["start"], case["stop"])))
        (item,) = epic_kitchens(root, path, timestamps="reference")
        assert item.video.fps == case["fps"]
        assert frame_numbers(item) == list(range(case["start_frame"] + 1, case["end_frame"] + 1))
        assert len(item.video.frames) == case["num_frames_action"]
        first = case["frame_ids"][0] - case["start_frame"] - 1
        assert item.video.frames[first] == case["first_path"].replace("ROOT", str(root))
        assert set(case["frame_ids"]) <= set(frame_numbers(item))
    assert len(cases) == 48


@pytest.mark.parametrize("layout", ["{0}/videos/{1}.MP4", "{0}/{1}.MP4", "{1}.MP4", "{1}.mp4"])
def test_video_files(tmp_path, annotations, clips, write, numbers, layout):
    # The file of one video has 25 frames in a second, that of the other 50, whatever the videos' numbers say.
    write(tmp_path / "data" / layout.format("P01", "P01_01"), clips["25.mp4"])
    write(tmp_path / "data" / layout.format("P01", "P01_101"), clips["50.mp4"])
    source = epic_kitchens(tmp_path / "data", annotations)
    assert source[0].span == (0.1, 0.2)
    assert numbers(source[0]) == [3, 4]
    assert numbers(source[1]) == list(range(5, 15))
    with pytest.raises(VideoError, match="video P22_07_1: there is no such file"):
        numbers(source[2])


def test_class_names_beside_the_annotations(tmp_path, annotations, write, complaint):
    write(tmp_path / "P22_07.MP4")
    source = epic_kitchens(tmp_path, annotations, {"noun": 300, "verb": 97})
    assert source.heads == tuple(source[0].labels) == ("noun", "verb")
    path = write(tmp_path / "EPIC_100_verb_classes.csv", "id,key,instances,category\n1,put,\"['put']\",x\n0,take,y,z\n")
    few = {"verb": 2, "noun": 300}
    few_rows = write(tmp_path / "few.csv", table(ROWS[2]))
    assert epic_kitchens(tmp_path, few_rows, few).class_names == {"verb": ("take", "put")}
    message = complaint(epic_kitchens, tmp_path, annotations, {"verb": 97, "noun": 300})
    assert message == f"{path}: has 2 classes, expected 97"
    write(path, "id,key\n0,take\n2,put\n")
    message = complaint(epic_kitchens, tmp_path, few_rows, few)
    assert message == f"{path}: line 3, column 'id': '2' is not a class, expected an index 0..1"
    write(path, "id,name\n0,take\n")
    assert "line 1: no column 'key' in the header" in complaint(epic_kitchens, tmp_path, annotations)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "narration_id,video_id\n",
            ", line 1: no column 'participant_id' and no column 'start_timestamp' and no column",
        ),
        (table().replace("verb_class", "x"), "no column 'verb_class' in the header"),
        (table(), ": has a header and no rows"),
        ("", ": the list is empty, expected lines such as"),
        (table(ROWS[0], ROWS[0]), "line 3: 'P01_01_0' stands in line 2 already"),
        (table(row("", "P01_01", "00:00:00.10", "00:00:00.20")), "line 2, column 'narration_id': it is empty"),
        (table(row("a", "P01_01", "0.1", "00:00:00.20")), "line 2, column 'start_timestamp': '0.1' is not a time such"),
        (table(row("a", "P01_01", "00:00:00.20", "00:00:00.20")), "line 2: '00:00:00.20' is not after the start"),
        (
            table(row("a", "P01_01", "00:00:00", "00:00:02", 97)),
            "column 'verb_class': '97' is not a class, expected an",
        ),
        (
            table(row("a", "P01_01", "00:00:00", "00:00:02", 1, "")),
            "column 'noun_class': '' is not a class, expected an",
        ),
        (table(row("a", "P01_01", "00:00:00", "00:00:02", "1.0")), "'1.0' is not a class, expected an index 0..96"),
        (table("a,b"), "line 2: 2 values, expected 15 (narration_id"),
        (table(row("a", "P09_01", "00:00:00", "00:00:02")), ": not one of its 1 videos is in"),
    ],
)
def test_wrong_annotations(tmp_path, write, complaint, text, words):
    path = write(tmp_path / "other.csv", text)
    write(tmp_path / "P01_01.MP4")
    message = complaint(epic_kitchens, tmp_path, path, {"verb": 97, "noun": 300})
    assert message.startswith(str(path))
    assert words in message


def test_wrong_arguments(tmp_path, annotations, write, complaint):
    assert "does not exist" in complaint(epic_kitchens, tmp_path / "nowhere", annotations)
    message = complaint(epic_kitchens, tmp_path, annotations, {"label": 400})
    assert "every video has the labels verb and noun, but the model's heads are label" in message
    message = complaint(epic_kitchens, tmp_path, annotations, timestamps="rounded")
    assert message == "timestamps is 'rounded', expected 'exact' or 'reference'"
    message = complaint(epic_kitchens, tmp_path, annotations)
    assert "looked for P01/rgb_frames/P01_01, rgb/P01/P01_01, P01/videos/P01_01.MP4, P01/videos/P01_01.mp4" in message
    write(tmp_path / "P22/rgb_frames/P22_07.tar")
    assert complaint(epic_kitchens, tmp_path, annotations).endswith(
        "holds archives ({participant}/rgb_frames/{video}.tar); unpack each into a folder of its name without .tar"
    )
    write(tmp_path / "P22_07.MP4")
    write(tmp_path / "P22/rgb_frames/P22_07/frame_0000000001.jpg")
    assert isinstance(epic_kitchens(tmp_path, annotations)[0].video, Pictures)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was run",)


def test_pickles_are_not_run(tmp_path, write, complaint):
    path = write(tmp_path / "EPIC_100_validation.pkl", pickle.dumps(Bomb()))
    message = complaint(epic_kitchens, tmp_path, path)
    assert message.startswith(f"{path}: is a pickle, which can run any code when it is read; give the csv file")
    assert "pandas.read_pickle('EPIC_100_validation.pkl').to_csv('EPIC_100_validation.csv')" in message
