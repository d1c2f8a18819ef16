"""Damaged lists, annotations and records: read, or refused in one sentence; nothing else, and at once."""

import json
import random
import re
import warnings

import pytest
from tfrecord_writer import clip
from tfrecord_writer import write as write_records

from jax_vtm.data import VideoError, open_videos, source_digest
from jax_vtm.errors import UserError

PIECES = [
    *(b"\0", b"\xef\xbb\xbf", b"\r", b'"', b",", b"\t", b"\xff", b"\x1b[2J", b"\xe2\x80\xae", b"\\ud800", b"\\"),
    *(b"{" * 3000, b"[" * 100000, b"a" * 140000, b"http://x/", b"../", b"null", b"%s{}"),
]
NUMBERS = [b"9" * 5000, b"-1", b"1000000000", b"1e999", b"NaN", "٣".encode(), b"0" * 4000, b"99999999999999999999"]
LABELS = {"Holding something": "0", "Tilting something": "1"}
ENTRIES = [{"id": "7", "template": "Tilting [something]"}, {"id": 8, "label": "Holding something"}]
EPIC = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class,x\n" + (
    "a,P01,P01_01,00:00:00.1,00:00:00.50,1,2,\"['a', 'b']\"\nb,P01,P01_01,01:00:00.1,01:00:03.50,96,299,\n"
)
VERBS = "id,key\n" + "".join(f"{number},verb {number}\n" for number in range(97))

CASES = {
    "labels.csv": ("folder", "a.mp4 b/c.mp4", 'video,label\na.mp4,1\n"b/c.mp4",0\n'),
    "val.csv": ("kinetics400", "a.mp4", "a.mp4 1\nb/c d.webm 399\n"),
    "list.csv": ("ssv2", "a/1.jpg", "a 1 1\nb/c d 2 0\n"),
    "kinetics.csv": (
        "kinetics400",
        "b_000000_000010.mp4",
        "label,youtube_id,time_start,time_end\n" + "".join(f"class {number},b,{number},10\n" for number in range(400)),
    ),
    "labels.json": ("ssv2", "7.webm", json.dumps(LABELS)),
    "val.json": ("ssv2", "7.webm", json.dumps(ENTRIES)),
    "frames.csv": (
        "ssv2",
        "7/1.jpg",
        "original_vido_id video_id frame_id path labels\n7 0 0 7/1.jpg x\n7 0 1 7/2.jpg x\n",
    ),
    "EPIC_100_val.csv": ("epic_kitchens_100", "rgb/P01/P01_01/x.jpg", EPIC),
    "EPIC_100_verb_classes.csv": ("epic_kitchens_100", "P01_01.MP4", VERBS),
    "records": ("folder", "", ""),
}


def mutated(rng, data):
    """Cuts, flips, repeats, drops and inserts bytes, changes numbers, and repeats lines, a few times."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        start = rng.randrange(len(data) + 1)
        stop = start + rng.choice([1, 2, 8, 30, 200])
        found = list(re.finditer(rb"[0-9]+", data))
        match rng.randrange(7):
            case 0:
                del data[start:]
            case 1 if data:
                data[start % len(data)] ^= 1 << rng.randrange(8)
            case 2:
                data[start:start] = data[start:stop] * rng.choice([1, 50])
            case 3:
                del data[start:stop]
            case 4:
                data[start:start] = rng.choice(PIECES)
            case 5 if found:
                number = rng.choice(found)
                data[number.start() : number.end()] = rng.choice(NUMBERS)
            case _:
                lines = data.split(b"\n")
                lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                data = bytearray(b"\n".join(lines))
    return bytes(data)


@pytest.mark.parametrize("name", CASES)
def test_damaged_annotations(tmp_path, write, name):
    kind, videos, text = CASES[name]
    for video in videos.split():
        write(tmp_path / video)
    if kind == "ssv2" and name != "list.csv":
        write(tmp_path / "labels.json", LABELS)
        write(tmp_path / "val.json", ENTRIES)
    if name == "EPIC_100_verb_classes.csv":
        write(tmp_path / "EPIC_100_val.csv", EPIC)
    path = tmp_path / name
    classes = {"label": 2} if kind in ("folder", "ssv2") else None
    context = {"clip/key": "k", "image/frame_rate": 25.0, "clip/start/timestamp": 0, "clip/end/timestamp": 10**6}
    records = [clip([b"\xff\xd8"], [number], context) for number in range(2)]
    whole = write_records(path, records).read_bytes() if name == "records" else text.encode()
    named = path if name in ("list.csv", "kinetics.csv", "frames.csv") else ()
    refused: list[str] = []
    for seed in range(40):
        rng = random.Random(f"{name} {seed}")
        path.write_bytes(mutated(rng, whole) if seed else whole)
        if name == "records" and seed % 2:
            write_records(path, [mutated(rng, record) for record in records])
        try:
            with warnings.catch_warnings(action="ignore"):
                source = open_videos(
                    kind, path if name == "records" else tmp_path, annotations=named, num_classes=classes
                )
                source_digest(source)
        except UserError as error:
            refused.append(str(error))
            continue
        for index in range(len(source)):
            try:
                item = source[index]
            except VideoError:
                continue
            item.id.encode()
            assert all(0 <= label < (classes or {}).get(head, 400) for head, label in item.labels.items())
    assert 0 < len(refused) < 40
    assert max(map(len, refused)) < 3000
