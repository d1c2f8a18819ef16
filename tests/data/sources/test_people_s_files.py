"""What people's own folders and lists hold beside what the documentation describes, and what hostile ones do."""

import os
import socket

import pytest
from tfrecord_writer import clip
from tfrecord_writer import write as write_records

from jax_vtm.data import VideoError, open_videos

TWO = {"label": 2}
EPIC = {"verb": 97, "noun": 300}


def ids(source):
    return [source[index].id for index in range(len(source))]


def frame_names(item):
    return [os.path.basename(path) for path in item.video.frames]


def numbered(pattern, count=4, first=1):
    return [pattern.format(number) for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (numbered("flow_x_{:05d}.jpg") + numbered("flow_y_{:05d}.jpg"), "flow_x_#.jpg; flow_y_#.jpg"),
        (numbered("x_{:05d}.jpg") + numbered("y_{:05d}.jpg"), "x_#.jpg; y_#.jpg"),
        (numbered("img_{:05d}_depth.png"), "img_#_depth.png"),
        (numbered("Mask{}.png"), "Mask#.png"),
        (["preview.png"], "preview.png"),
        (["cover.jpg", "cover.png"], "cover.jpg; cover.png"),
        (["img_last.jpg"], "img_last.jpg"),
    ],
)
def test_one_series_of_pictures_is_the_video_and_others_are_named(tmp_path, write, recwarn, beside, said):
    frames = numbered("img_{:05d}.jpg")
    for name in (*beside, *frames):
        write(tmp_path / "clip" / name)
    assert frame_names(open_videos("folder", tmp_path)[0]) == frames
    assert len(recwarn) == 1
    assert f"left out are, in 'clip', {said}" in str(recwarn[0].message)
    write(tmp_path / "clip/flow_x/1.jpg")
    assert ids(open_videos("folder", tmp_path)) == ["clip", "clip/flow_x"]
    assert "folders count as videos though their names say otherwise: clip/flow_x" in str(recwarn[2].message)


@pytest.mark.parametrize(
    "names",
    [
        numbered("img_{:05d}.jpg"),
        ["1.jpg", "2.JPG", "9.jpeg", "10.jpg", "11.png"],
        numbered("74225_{:06d}.jpg"),
        ["00_59.jpg", "01_00.jpg", "01_01.jpg", "01_59.jpg", "02_00.jpg", "02_01.jpg"],
        ["f1_t0.00.jpg", "f2_t0.40.jpg", "f3_t1.00.jpg", "f4_t1.40.jpg"],
        ["begin.jpg", "end.jpg", "middle.jpg"],
        numbered("flow_x_{:05d}.jpg"),
        ["only.png"],
    ],
)
def test_a_lone_series_is_the_video_without_a_word(tmp_path, write, recwarn, names):
    for name in reversed(names):
        write(tmp_path / "clip" / name)
    assert frame_names(open_videos("folder", tmp_path)[0]) == names
    assert not recwarn


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (numbered("left_{}.jpg") + numbered("right_{}.jpg"), "left_#.jpg (4), right_#.jpg (4)"),
        (numbered("flow_x_{}.jpg") + numbered("flow_y_{}.jpg"), "flow_x_#.jpg (4), flow_y_#.jpg (4)"),
        (numbered("img_{}.jpg") + numbered("img_{}.png"), "img_#.jpg (4), img_#.png (4)"),
        (numbered("cam1_{:05d}.jpg") + numbered("cam2_{:05d}.jpg"), "cam1_#.jpg (4), cam2_#.jpg (4)"),
        (numbered("{}_l.jpg") + numbered("{}_r.jpg"), "#_l.jpg (4), #_r.jpg (4)"),
        (["1.jpg", "2.jpg", "01.jpg", "02.jpg"], "pictures with the same number: 01.jpg, 1.jpg"),
        (["a1.jpg", "b1.jpg"], "a#.jpg (1), b#.jpg (1)"),
    ],
)
def test_series_that_may_all_be_the_frames_are_refused(tmp_path, write, complaint, names, words):
    for name in names:
        write(tmp_path / "clip" / name)
    assert words in complaint(open_videos, "folder", tmp_path)
    for name in numbered("{}.jpg"):
        write(tmp_path / "good" / name)
    source = open_videos("folder", tmp_path)
    assert frame_names(source[1]) == numbered("{}.jpg")
    with pytest.raises(VideoError, match=r"^video clip: its folder holds ") as caught:
        source[0]
    assert words in caught.value.reason


def test_every_kind_of_video_file_is_taken_and_the_others_are_counted(tmp_path, write, recwarn):
    suffixes = ("3gp", "MTS", "WebM", "asf", "flv", "gif", "m2ts", "mpg", "ogv", "ts", "wmv", "y4m")
    names = sorted(f"b.{suffix}" for suffix in suffixes)
    for name in (*names, "a/notes.txt", "x.zip", "y.ZIP", "1.jpg", "c/2.jpg", "d/3.JPG", ".hidden", "e/.cache/f.txt"):
        write(tmp_path / name)
    write(tmp_path / "labels.csv", "video,label\n" + "".join(f"{name},0\n" for name in names))
    assert ids(open_videos("folder", tmp_path)) == names
    assert len(recwarn) == 1
    assert str(recwarn[0].message) == f"{tmp_path}: left out files that are no videos: 3 .jpg, 2 .zip"


@pytest.mark.parametrize("kind", ["ssv2", "kinetics400"])
@pytest.mark.parametrize("name", ["val.csv", "list.txt"])
def test_lists_of_paths_for_every_dataset(tmp_path, write, complaint, kind, name):
    write(tmp_path / "a b.mp4")
    path = write(tmp_path / name, "\ufeffa b.mp4 , 1\r\n")
    source = open_videos(kind, tmp_path, num_classes=TWO, annotations="" if name == "val.csv" else path)
    assert [(item.id, item.labels) for item in source] == [("a b.mp4", {"label": 1})]
    assert open_videos(kind, tmp_path, annotations=path, class_names={"label": ["a"] * 400}, num_classes={"label": 400})
    path.write_text("a b.mp4 96 299\n")
    source = open_videos("epic_kitchens_100", tmp_path, annotations=path, num_classes={"noun": 300, "verb": 97})
    assert (source[0].id, source[0].labels) == ("a b.mp4", {"verb": 96, "noun": 299})
    path.write_text("a b.mp4 97\n")
    message = complaint(open_videos, "epic_kitchens_100", tmp_path, annotations=path)
    assert message.endswith("'b.mp4' is not a class, expected an index 0..96")


@pytest.mark.parametrize("kind", ["kinetics400", "ssv2"])
def test_lists_of_pictures_with_their_number(tmp_path, write, kind):
    for name in (*numbered("img_{:05d}.jpg"), *numbered("flow_x_{:05d}.jpg")):
        write(tmp_path / "air drumming/a 1" / name)
    write(tmp_path / "b/1.jpg")
    path = write(tmp_path / "list.txt", "air drumming/a 1 4 3\nb 2 0\ngone 7 1\n")
    source = open_videos(kind, tmp_path, annotations=path)
    assert [(item.id, item.labels["label"]) for item in (source[0], source[2])] == [
        ("air drumming/a 1", 3),
        ("gone", 1),
    ]
    with pytest.warns(UserWarning, match=r"^pictures beside the frames are left out: flow_x_#\.jpg$"):
        assert frame_names(source[0]) == numbered("img_{:05d}.jpg")
    with pytest.raises(VideoError, match="video b: its folder has 1 pictures, the list says 2"):
        source[1]
    path.write_text("air drumming/a 1 3\n")
    for name in numbered("flow_x_{:05d}.jpg"):
        (tmp_path / "air drumming/a 1" / name).unlink()
    assert frame_names(open_videos(kind, tmp_path, annotations=path)[0]) == numbered("img_{:05d}.jpg")
    # A number in a path is no number of pictures.
    write(tmp_path / "b 4")
    path.write_text("b 4 3\n")
    assert ids(open_videos(kind, tmp_path, annotations=path)) == ["b 4"]


@pytest.mark.parametrize("address", ["http://x/y.mp4", "file:///y.mp4", "HTTPS://x", "a/http://b.mp4", "rtsp://u:p@h"])
def test_addresses_that_cannot_be_read(tmp_path, write, complaint, address):
    write(tmp_path / "a.mp4")
    path = write(tmp_path / "val.csv", f"a.mp4 0\n{address} 1\n")
    message = complaint(open_videos, "kinetics400", tmp_path)
    assert message.startswith(f"{path}: line 2: {address}: addresses that begin with")
    assert "cannot be read; give a local path" in complaint(open_videos, "folder", address)
    assert "cannot be read; give a local path" in complaint(open_videos, "ssv2", tmp_path, annotations=address)


HUGE = "9" * 5000


@pytest.mark.parametrize("value", [HUGE, "1000000000", "-1", "1e3", "0x1", "٣", "1.0", "+1", "1_0"])
@pytest.mark.parametrize("known", [True, False])
def test_numbers_that_are_no_classes_are_refused_with_their_line(tmp_path, write, complaint, value, known):
    write(tmp_path / "a.mp4")
    write(tmp_path / "P01/videos/P01_01.MP4")
    expected = f"line 2{{}}: '{value[:79]}{{}} is not a class, expected an index 0..".format
    end = "... (5002 characters)" if value is HUGE else "'"
    for text in (f"\na.mp4 {value}", f"\na.mp4,{value}"):
        write(tmp_path / "val.csv", text)
        classes = TWO if known else None
        assert expected("", end) in complaint(open_videos, "kinetics400", tmp_path, num_classes=classes)
    write(tmp_path / "labels.csv", f"video,label\na.mp4,{value}\n")
    message = complaint(open_videos, "folder", tmp_path, num_classes=TWO if known else None)
    assert expected(", column 'label'", end) in message
    header = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    csv = write(tmp_path / "epic.csv", f"{header}\na,P01,P01_01,00:00:00,00:00:01,{value},0\n")
    message = complaint(open_videos, "epic_kitchens_100", tmp_path, annotations=csv)
    assert expected(", column 'verb_class'", end) in message


def test_numbers_of_many_digits(tmp_path, write, complaint):
    write(tmp_path / "P01_01.MP4")
    header = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    for times in (f"00:00:00,00:00:{HUGE}", f"{HUGE}:00:00,{HUGE}:00:01", f"00:00:00,00:00:01.{HUGE}"):
        write(tmp_path / "EPIC_100_val.csv", f"{header}\na,P01,P01_01,{times},0,0\n")
        message = complaint(open_videos, "epic_kitchens_100", tmp_path)
        assert "line 2, column '" in message
        assert "is not a time such as 00:01:02.34" in message
    write(tmp_path / "val.csv", f"label,youtube_id,time_start,time_end\na,b,{HUGE},1\n")
    assert "line 2, column 'time_start': '999" in complaint(open_videos, "kinetics400", tmp_path)
    for name in (f"x@{HUGE}", "x@99999999999", "x@99999"):
        assert "missing: " in complaint(open_videos, "folder", tmp_path / name)
    for rate in (float("nan"), float("inf"), -1.0, 1e30):
        path = write_records(tmp_path / "a", [clip([b"\xff\xd8"], [0], {"image/frame_rate": rate})])
        assert open_videos("folder", path)[0].video.fps is None


@pytest.mark.parametrize(
    ("labels", "entries", "words"),
    [
        (f'{{"a": {HUGE}}}', "[]", "labels.json: is not json that can be read (Exceeds the limit"),
        (f'{{"a": "{HUGE}"}}', "[]", "labels.json: 'a' has the index '9999"),
        ('{"a": -1}', "[]", "'a' has the index -1, expected 0..0"),
        ('{"a": 0, "a": 1}', "[]", "labels.json: is not json that can be read ('a' stands there twice)"),
        ('{"\\ud800": 0}', "[]", "labels.json: is not json that can be read ('utf-8' codec can't encode"),
        ('{"a": 0}', f'[{{"id": {HUGE}}}]', "val.json: is not json that can be read (Exceeds the limit"),
        ('{"a": 0}', f'[{{"id": "{HUGE}", "template": "a"}}]', "not one of its 1 videos is in"),
        ('{"a": 0}', '[{"id": "\\udcff", "template": "a"}]', "val.json: is not json that can be read ('utf-8' codec"),
        ('{"a": 0}', f'[{{"id": "1", "template": "{HUGE}"}}]', "characters) is not a class of"),
        ('{"a": 0}', "[" * 100000, "val.json: is not json that can be read ("),
        ('{"a": 0}', "\0", "val.json: is not UTF-8 text (byte 0 is zero)"),
    ],
)
def test_json_of_something_something(tmp_path, write, complaint, labels, entries, words):
    write(tmp_path / "labels.json", labels)
    write(tmp_path / "val.json", entries)
    write(tmp_path / "1.webm")
    message = complaint(open_videos, "ssv2", tmp_path, num_classes={"label": 1})
    assert words in message
    assert len(message) < 1000


@pytest.fixture
def special(tmp_path):
    """Makes one thing that is no regular file."""

    def make(what, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "a named pipe":
            os.mkfifo(path)
        elif what == "a socket":
            with socket.socket(socket.AF_UNIX) as listening:
                os.chdir(path.parent)
                listening.bind(path.name)
        else:
            path.symlink_to("/dev/zero")
        return path

    return make


@pytest.mark.parametrize("what", ["a named pipe", "a socket", "a device"])
def test_what_is_no_regular_file_neither_hangs_nor_fills_the_memory(
    tmp_path, write, special, numbers, complaint, monkeypatch, what
):
    monkeypatch.chdir(tmp_path)
    special(what, tmp_path / "videos/x.mp4")
    source = open_videos("folder", tmp_path / "videos")
    with pytest.raises(VideoError, match=rf"video x\.mp4: .*{what}"):
        numbers(source[0])
    special(what, tmp_path / "pictures/clip/1.jpg")
    with pytest.raises(VideoError, match=rf"video clip: .*1\.jpg: is {what}"):
        numbers(open_videos("folder", tmp_path / "pictures")[0])
    for kind, name in (
        ("folder", "labels.csv"),
        ("kinetics400", "val.csv"),
        ("ssv2", "labels.json"),
        ("epic_kitchens_100", "EPIC_100_val.csv"),
    ):
        path = special(what, tmp_path / kind / name)
        write(tmp_path / kind / "a.mp4")
        write(tmp_path / kind / "val.json", [])
        message = complaint(open_videos, kind, tmp_path / kind, annotations="" if kind != "folder" else path)
        assert message == f"{path}: is {what}, expected a regular file"
    path = special(what, tmp_path / "records")
    assert complaint(open_videos, "folder", path) == f"{path}: is {what}, expected a regular file"
    path = special(what, tmp_path / "built/dataset_info.json")
    assert complaint(open_videos, "folder", path.parent).startswith(f"{path}: is {what}")


def test_every_real_folder_is_visited_once(tmp_path, write):
    for number in range(12):
        write(tmp_path / f"v/s{number}/a.mp4")
        for other in range(12):
            (tmp_path / f"v/s{number}/l{other}").symlink_to(tmp_path / f"v/s{other}", target_is_directory=True)
    write(tmp_path / "elsewhere/sub/far.mp4")
    (tmp_path / "v/0").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "v/1").symlink_to(tmp_path / "elsewhere/sub")
    (tmp_path / "v/broken").symlink_to("nowhere")
    (tmp_path / "v/loop").symlink_to("loop")
    expected = ["0/sub/far.mp4", *(f"s{number}/a.mp4" for number in range(12))]
    assert ids(open_videos("folder", tmp_path / "v")) == sorted(expected)


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """`deep(count, name)` makes so many more nested folders; removed here, since Python's own removal recurses."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(count, name):
        for _ in range(count):
            os.mkdir(name)
            os.chdir(name)
            made.append(name)

    yield make
    while made:
        for file in os.listdir():
            os.unlink(file)
        os.chdir("..")
        os.rmdir(made.pop())


def test_very_deep_folders(tmp_path, deep, complaint, monkeypatch):
    deep(1100, "d")
    open("deep.mp4", "w").close()
    assert ids(open_videos("folder", tmp_path)) == ["d/" * 1100 + "deep.mp4"]
    deep(20, 200 * "d")
    message = complaint(open_videos, "folder", tmp_path)
    assert "cannot be read (File name too long)" in message
    assert len(message) < 500

    def forbidden(path):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", forbidden)
        assert complaint(open_videos, "folder", tmp_path).endswith("cannot be read (Permission denied)")


def test_names_that_are_not_utf8_become_ids_that_are(tmp_path, clips, numbers, complaint):
    name = os.fsencode(tmp_path / "run") + b"/bad\xff.mp4"
    os.makedirs(os.path.dirname(name))
    with open(name, "wb") as file:
        file.write(clips["25.mp4"])
    source = open_videos("folder", tmp_path)
    assert source[0].id == "run/bad\\xff.mp4"
    assert numbers(source[0], [3]) == [3]
    (tmp_path / "labels.csv").write_text("video,label\nrun/bad\\xff.mp4,1\n")
    assert open_videos("folder", tmp_path)[0].labels == {"label": 1}
    (tmp_path / "run/bad\\xff.mp4").touch()
    assert "another video is called 'run/bad\\\\xff.mp4' too" in complaint(open_videos, "folder", tmp_path)
    os.mkdir(os.fsencode(tmp_path) + b"/classes")
    os.rename(os.fsencode(tmp_path / "run"), folder := os.fsencode(tmp_path) + b"/classes/caf\xe9")
    os.unlink(folder + b"/bad\xff.mp4")
    source = open_videos("kinetics400", tmp_path / "classes", num_classes={"label": 1})
    assert (source[0].id, source.class_names) == ("caf\\xe9/bad\\xff.mp4", {"label": ("caf\\xe9",)})


def test_names_are_shown_and_obeyed_by_nothing(tmp_path, write, complaint, recwarn):
    name = "\x1b[31mRED\u202e\n.mp4"
    write(tmp_path / name)
    write(tmp_path / f"{name}.\x1b[2J")
    assert ids(open_videos("folder", tmp_path)) == [name]
    write(tmp_path / "labels.csv", 'video,label\n"\x1b[31m\u202e",0\n')
    messages = complaint(open_videos, "folder", tmp_path) + str(recwarn[0].message)
    path = write(tmp_path / "val.csv", "\x1b[2J.mp4 \x1b[2J\n\u202ea.mp4 \u202e\n")
    messages += complaint(open_videos, "kinetics400", tmp_path, annotations=path)
    assert "\\x1b[31m\\u202e" in messages
    assert not {"\x1b", "\u202e"} & set(messages)


def test_a_path_that_no_file_can_have(tmp_path, write, complaint):
    write(tmp_path / "a.mp4")
    long = "x" * 5000
    for kind in ("folder", "kinetics400", "ssv2", "epic_kitchens_100"):
        assert "does not exist" in complaint(open_videos, kind, tmp_path / long)
    path = write(tmp_path / "val.csv", f"a.mp4 0\n{long} 1\nb\x01.mp4 1\n")
    assert len(open_videos("kinetics400", tmp_path)) == 3
    path.write_text(f"{long} 0\n")
    assert "not one of its 1 videos is there" in complaint(open_videos, "kinetics400", tmp_path)
    assert "there is no such file or folder" in complaint(open_videos, "folder", tmp_path, annotations=long)
