import os
from fractions import Fraction

import av
import numpy as np
import pytest

from jax_vtm.data import decode_frames, write_h264


@pytest.mark.parametrize("count", [1, 40])
def test_every_frame_comes_back_in_order(tmp_path, frames, read_numbers, count):
    for name in ("a.mp4", "b.mp4"):
        write_h264(tmp_path / name, frames(count), fps=Fraction(25, 2), crf=1)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    decoded = decode_frames(tmp_path / "a.mp4", lambda info: np.arange(info.num_frames))
    assert read_numbers(decoded) == list(range(count))
    assert np.abs(decoded.astype(int) - frames(count)).mean() < 1
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width, stream.frames, stream.average_rate) == (48, 96, count, Fraction(25, 2))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, frames, monkeypatch):
    def fail(*_):
        raise OSError("no space")

    write_h264(tmp_path / "a.mp4", frames(2))
    before = (tmp_path / "a.mp4").read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_h264(tmp_path / "a.mp4", frames(3))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (2, 33, 32, 3), (2, 32, 31, 3)])
def test_what_h264_cannot_hold_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="even H"):
        write_h264(tmp_path / "a.mp4", np.zeros(shape, np.uint8))
