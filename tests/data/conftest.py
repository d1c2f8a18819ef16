"""Videos whose frames carry their number in the pixels, so that a test can tell which frame it got."""

from fractions import Fraction

import av
import numpy as np
import pytest

BITS = 8
CELL = 8


def stamp(number: int, height: int = 48, width: int = 96) -> np.ndarray:
    """A grey frame with `number` as black and white cells in the top rows, least significant bit first."""
    frame = np.full((height, width, 3), 128, np.uint8)
    for bit in range(BITS):
        frame[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (number >> bit & 1)
    return frame


def silence(seconds):
    """Sound at 8000 samples per second."""
    frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.int16), format="s16", layout="mono")
    frame.rate = 8000
    return frame


@pytest.fixture(scope="session")
def frames():
    """`frames(n, height, width)`: n numbered frames, uint8 [n, height, width, 3]."""
    return lambda n, height=48, width=96: np.stack([stamp(number, height, width) for number in range(n)])


@pytest.fixture(scope="session")
def read_numbers():
    """Reads the numbers back from decoded frames."""

    def read(decoded):
        cells = decoded[:, CELL // 2, CELL // 2 : BITS * CELL : CELL].mean(-1)
        assert np.all(np.abs(cells - 127.5) > 60), "the stamp is not readable"
        return ((cells > 127.5) @ (1 << np.arange(BITS))).tolist()

    return read


@pytest.fixture(scope="session")
def encode():
    """`encode(path, frames, codec, ...)` writes a video; `pts` are time stamps in units of `clock`, 1/25 s.

    `path` may also be an open file. `rate` is what the file states. `sound` is the length of its sound in seconds.
    """

    def write(
        path,
        pixels,
        codec="libx264",
        pix_fmt="yuv420p",
        options=None,
        muxer=None,
        pts=None,
        prepare=None,
        rate=25,
        clock=Fraction(1, 25),
        sound=0,
        **kwargs,
    ):
        target = path if hasattr(path, "write") else str(path)
        with av.open(target, "w", options=muxer or {}, **kwargs) as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.height, stream.width = pixels.shape[1:3]
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = clock
            stream.thread_count = 1
            beside = container.add_stream("pcm_s16le", rate=8000) if sound else None
            if prepare:
                prepare(stream)
            for number, frame in enumerate(pixels):
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture.pts = pts[number] if pts else number
                picture.time_base = clock
                container.mux(stream.encode(picture))
            if beside:
                container.mux(beside.encode(silence(sound)))
                container.mux(beside.encode())
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def write_sound():
    """`write_sound(path)` writes a file with one second of silence and no picture."""

    def write(path):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            container.mux(stream.encode(silence(1)))
            container.mux(stream.encode())
        return path

    return write
