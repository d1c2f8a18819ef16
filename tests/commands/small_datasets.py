"""Small real videos in the layouts of the published datasets; every frame says its number."""

import csv
import io
import json
import pathlib
from fractions import Fraction

import av
import numpy as np
from PIL import Image
from tfrecord_writer import clip, write

from jax_vtm.data import write_h264

# A tiny model.
FIELDS = {
    "image_size": 32,
    "num_frames": 4,
    "patch_size": (2, 16, 16),
    "hidden_size": 16,
    "num_heads": 2,
    "num_layers": 1,
    "mlp_dim": 16,
}
CONFIG = """
import pathlib

from jax_vtm.config import load_config


def get_config():
    config = load_config(pathlib.Path({shipped!r}))
    config.model.update({fields!r})
    config.update_from_flattened_dict({values!r})
    return config
"""

HEIGHT, WIDTH = 32, 48
CELL = 8
BARCODE_LEFT, BARCODE_COLUMNS, BARCODE_ROWS = 16, 2, 4

KINETICS_CLASSES = [f"class {number:03d}" for number in range(400)]
SSV2_CLASSES = [f"Holding something in way {number}" for number in range(174)]

KINETICS = {
    # What a list calls the video, its class, and its frames per second.
    "aaaaaaaaaaa_000003_000013": (7, 25),
    "bbbbbbbbbbb_000100_000110": (399, Fraction(30000, 1001)),
    "ccccccccccc_000000_000010": (0, 50),
    "ddddddddddd_000001_000011": (123, "vp9"),
}
SSV2 = {"74225": 3, "116154": 173, "8": 0}
# Start and stop in seconds, verb, noun, and the first picture's number less 1.
EPIC = {
    "P01_01_0": ("P01_01", 0.1, 0.5, 3, 299, 6),
    "P01_01_1": ("P01_01", 0.2, 0.45, 0, 4, 12),
    "P02_101_0": ("P02_101", 0.2, 0.6, 96, 0, 10),
}
EPIC_FPS = {"P01_01": 60, "P02_101": 50}
FRAMES = 20
EPIC_FRAMES = 36


def write_config(path: pathlib.Path, shipped: pathlib.Path, fields: dict, values: dict) -> pathlib.Path:
    """A shipped config with a model of these fields and with these values by dotted key, as a file."""
    path.write_text(CONFIG.format(shipped=str(shipped), fields=fields, values=values))
    return path


def pictures(seed: int, count: int = FRAMES) -> np.ndarray:
    """A texture that wanders to the left, with each frame's number in black and white cells: uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(40, 216, (HEIGHT // 4, WIDTH // 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = np.stack([np.roll(texture, -number, axis=1) for number in range(count)])
    for bit in range(BARCODE_ROWS * BARCODE_COLUMNS):
        top, left = bit // BARCODE_COLUMNS * CELL, BARCODE_LEFT + bit % BARCODE_COLUMNS * CELL
        cells = 255 * (np.arange(count) >> bit & 1)
        frames[:, top : top + CELL, left : left + CELL] = cells[:, None, None, None]
    return frames


def read_numbers(frames: np.ndarray, crop_left: int) -> list:
    """The numbers on frames [..., H, W, 3] that were cut off on the left by `crop_left` pixels."""
    rows = CELL // 2 + CELL * np.arange(BARCODE_ROWS)
    columns = BARCODE_LEFT - crop_left + CELL // 2 + CELL * np.arange(BARCODE_COLUMNS)
    cells = frames.astype(float).mean(-1)[..., rows, :][..., columns]
    assert np.all(np.abs(cells - 127.5) > 60), "the barcode is not readable"
    bits = (cells > 127.5).reshape(*cells.shape[:-2], -1)
    return (bits @ (1 << np.arange(bits.shape[-1]))).tolist()


def write_vp9(path: pathlib.Path, frames: np.ndarray) -> None:
    """Encodes a WebM file of 25 frames per second."""
    with av.open(str(path), "w") as container:
        options = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"}
        stream = container.add_stream("libvpx-vp9", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def jpegs(frames: np.ndarray) -> list[bytes]:
    """Encodes every frame as a JPEG file."""
    files = [io.BytesIO() for _ in frames]
    for file, pixels in zip(files, frames, strict=True):
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return [file.getvalue() for file in files]


def write_kinetics(folder: pathlib.Path) -> pathlib.Path:
    """`videos/<class>/<id>.mp4` with all 400 classes' folders, `list/val.csv` and `official/all.csv`."""
    for name in KINETICS_CLASSES:
        (folder / "videos" / name.replace(" ", "_")).mkdir(parents=True)
    lines = []
    rows = [("label", "youtube_id", "time_start", "time_end", "split")]
    rows += [(name, f"{number:011d}", 0, 10, "train") for number, name in enumerate(KINETICS_CLASSES)]
    for seed, (video, (label, fps)) in enumerate(KINETICS.items()):
        name = f"{KINETICS_CLASSES[label].replace(' ', '_')}/{video}.{'webm' if fps == 'vp9' else 'mp4'}"
        if fps == "vp9":
            write_vp9(folder / "videos" / name, pictures(seed))
        else:
            write_h264(folder / "videos" / name, pictures(seed), fps=fps, crf=8)
        lines.append(f"{name} {label}")
        youtube_id, start, end = video.split("_")
        rows.append((KINETICS_CLASSES[label], youtube_id, int(start), int(end), "val"))
    _write_text(folder / "list" / "val.csv", "\n".join(lines))
    table = io.StringIO()
    csv.writer(table).writerows(rows)
    _write_text(folder / "official" / "all.csv", table.getvalue())
    return folder


def write_kinetics_pictures(folder: pathlib.Path) -> pathlib.Path:
    """`pictures/<id>/<number>.jpg` with a labels.csv; the same files in `records/test.tfrecord@2`, and in
    `records/from_one.tfrecord` with classes counted from 1.
    """
    records, from_one = [], []
    for seed, (video, (label, _)) in enumerate(KINETICS.items()):
        files = jpegs(pictures(seed))
        (folder / "pictures" / video).mkdir(parents=True)
        for number, data in enumerate(files):
            (folder / "pictures" / video / f"{number}.jpg").write_bytes(data)
        context = {"clip/key": video, "image/frame_rate": 25.0}
        records.append(clip(files, [label], context))
        from_one.append(clip(files, [label + 1], context))
    rows = [f"{video},{label}" for video, (label, _) in KINETICS.items()]
    _write_text(folder / "pictures" / "labels.csv", "\n".join(["video,label", *rows]))
    (folder / "records").mkdir()
    for shard in range(2):
        write(folder / "records" / f"test.tfrecord-{shard:05d}-of-00002", records[2 * shard : 2 * shard + 2])
    write(folder / "records" / "from_one.tfrecord", from_one)
    return folder


def write_ssv2(folder: pathlib.Path) -> pathlib.Path:
    """`videos/<id>.webm`, `frames/<id>/<id>_000001.jpg` and so on, and `labels/` with json files and a frame list."""
    entries = []
    (folder / "videos").mkdir(parents=True)
    lines = ["original_vido_id video_id frame_id path labels"]
    for seed, (video, label) in enumerate(SSV2.items()):
        frames = pictures(seed)
        write_vp9(folder / "videos" / f"{video}.webm", frames)
        (folder / "frames" / video).mkdir(parents=True)
        for number, data in enumerate(jpegs(frames)):
            name = f"{video}/{video}_{number + 1:06d}.jpg"
            (folder / "frames" / name).write_bytes(data)
            lines.append(f'{video} {seed} {number} {name} ""')
        entries.append({"id": video, "template": SSV2_CLASSES[label].replace("something", "[something]")})
    _write_text(folder / "labels" / "something-something-v2-validation.json", json.dumps(entries))
    classes = {name: str(number) for number, name in enumerate(SSV2_CLASSES)}
    _write_text(folder / "labels" / "something-something-v2-labels.json", json.dumps(classes))
    _write_text(folder / "labels" / "val.csv", "\n".join(lines))
    return folder


def write_epic(folder: pathlib.Path) -> pathlib.Path:
    """The same recordings as `published/` and `other/` pictures, `videos/` and `epic.tfrecord`; `annotations/`."""
    stored = {}
    for seed, (video, fps) in enumerate(EPIC_FPS.items()):
        frames, participant = pictures(seed, EPIC_FRAMES), video.partition("_")[0]
        (folder / "videos" / participant / "videos").mkdir(parents=True)
        # The muxer goes by the suffix, which published files have in capitals.
        write_h264(folder / "videos" / participant / "videos" / f"{video}.MP4", frames, fps=fps, crf=8)
        stored[video] = jpegs(frames)
        for place in (f"published/{participant}/rgb_frames/{video}", f"other/rgb/{participant}/{video}"):
            (folder / place).mkdir(parents=True)
            for number, data in enumerate(stored[video], start=1):
                (folder / place / f"frame_{number:010d}.jpg").write_bytes(data)
    columns = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"
    rows, records = [columns], []
    for name, (video, start, stop, verb, noun, first) in EPIC.items():
        rows.append(f"{name},{video[:3]},{video},00:00:{start:05.2f},00:00:{stop:05.2f},{verb},{noun}")
        frames = stored[video][first : round(stop * EPIC_FPS[video])]
        # Scenic counts nouns first, and then verbs.
        records.append(clip(frames, [noun, 300 + verb], {"clip/key": name, "image/frame_rate": float(EPIC_FPS[video])}))
    _write_text(folder / "annotations" / "EPIC_100_validation.csv", "\n".join(rows))
    write(folder / "epic.tfrecord", records)
    return folder


def _write_text(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
