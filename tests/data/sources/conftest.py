"""Small real datasets: every video's frames carry their numbers, and what is decoded is read back from them."""

import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from jax_vtm.data import decode_frames, write_h264
from jax_vtm.errors import UserError


@pytest.fixture(scope="session")
def clips(tmp_path_factory, frames, encode):
    """Videos of 20 frames by name: H.264 at three rates, and VP9."""
    folder = tmp_path_factory.mktemp("clips")
    for name, fps in (("25", 25), ("29.97", Fraction(30000, 1001)), ("50", 50)):
        write_h264(folder / f"{name}.mp4", frames(20), fps=fps)
    encode(folder / "vp9.webm", frames(20), "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def write():
    """`write(path, content)` writes text, bytes or json, with the folders around it."""

    def write_file(path, content=b"", encoding="utf-8"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture(scope="session")
def write_pictures(frames):
    """`write_pictures(folder, names)` writes a JPEG file per name, numbered in their order from `first` on."""

    def write_jpegs(folder, names, first=0):
        folder.mkdir(parents=True, exist_ok=True)
        for name, pixels in zip(names, frames(first + len(names))[first:], strict=True):
            Image.fromarray(pixels).save(folder / name, quality=95)

    return write_jpegs


@pytest.fixture(scope="session")
def numbers(read_numbers):
    """`numbers(item, indices)` decodes an item: the numbers on its frames, by default on all of them."""

    def decode(item, indices=None):
        def select(info):
            return np.arange(info.num_frames) if indices is None else np.array(indices)

        return read_numbers(decode_frames(item.video, select, span=item.span, name=item.id))

    return decode


@pytest.fixture(scope="session")
def complaint():
    """`complaint(call, *args, **kwargs)` returns the message of the `UserError` that the call raises."""

    def message(call, *args, **kwargs):
        with pytest.raises(UserError) as caught:
            call(*args, **kwargs)
        return str(caught.value)

    return message


@pytest.fixture(scope="session")
def content():
    """`content(source)` lists the ids and labels of a source, by its head `label`."""
    return lambda source: [(source[index].id, source[index].labels["label"]) for index in range(len(source))]
