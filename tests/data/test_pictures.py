import io

import numpy as np
import pytest
from PIL import Image

from jax_vtm.data import Pictures, VideoError, decode_frames


def everything(info):
    return np.arange(info.num_frames)


def encoded(pixels, kind="JPEG", mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def by_pil(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def photo():
    """Soft colours of all kinds, at an odd size."""
    rows, columns = np.mgrid[:53, :71]
    waves = [np.sin(rows / 7 + columns / a) + np.cos(columns / 5 - rows / a) for a in (3, 4, 6)]
    return np.uint8(127.5 + 60 * np.stack(waves, -1))


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 20}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_decoded_as_pil_decodes_it(photo, mode, options):
    data = encoded(photo, mode=mode, **options)
    np.testing.assert_array_equal(decode_frames(Pictures([data]), everything)[0], by_pil(data))


def test_fast_jpeg_is_another_decoder_and_a_close_one(photo):
    accurate, fast = (
        decode_frames(Pictures([encoded(photo)]), everything, fast_jpeg=fast).astype(int) for fast in (False, True)
    )
    difference = np.abs(accurate - fast)
    assert 0 < difference.max() <= 16
    assert difference.mean() < 2
    data = encoded(photo, mode="CMYK")
    assert np.abs(decode_frames(Pictures([data]), everything)[0].astype(int) - by_pil(data)).max() <= 1


@pytest.mark.parametrize("fast_jpeg", [False, True])
@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("BMP", "RGB")])
def test_other_kinds_of_picture(photo, kind, mode, fast_jpeg):
    data = encoded(photo, kind, mode)
    np.testing.assert_array_equal(decode_frames(Pictures([data]), everything, fast_jpeg=fast_jpeg)[0], by_pil(data))


def test_frames_come_in_the_order_asked_for_and_are_decoded_once(tmp_path):
    for level in range(4):
        (tmp_path / f"{level}.png").write_bytes(encoded(np.full((4, 6, 3), level, np.uint8), "PNG"))
    seen = []

    def transform(frame):
        seen.append(frame[0, 0, 0])
        return frame[:2, :2]

    video = Pictures([tmp_path / f"{level}.png" for level in range(4)], fps=12.5)
    frames = decode_frames(video, lambda info: np.array([3, 1, 1]) if info.fps == 12.5 else [], transform=transform)
    assert frames.shape == (3, 2, 2, 3)
    assert frames[:, 0, 0, 0].tolist() == [3, 1, 1]
    assert sorted(seen) == [1, 3]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "picture 1 (counted from 0) is empty (0 bytes)"),
        (lambda data: data[: len(data) // 2], "picture 1 (counted from 0) cannot be read: it is cut short"),
        (lambda data: data[:-2], "cannot be read: it is cut short"),
        (lambda data: data[:30], "cannot be read"),
        (lambda data: data[:700] + bytes(60) + data[760:], "cannot be read"),
        (lambda data: b"<html>not found</html>", "no picture"),
        (lambda data: data[:2] + b"x" * 400, "cannot be read"),
    ],
)
@pytest.mark.parametrize("fast_jpeg", [False, True])
def test_damaged_jpeg_is_named(photo, damage, words, fast_jpeg):
    data = encoded(photo)
    with pytest.raises(VideoError) as caught:
        decode_frames(Pictures([data, damage(data)]), everything, fast_jpeg=fast_jpeg, name="cats/1")
    assert str(caught.value).startswith("video cats/1: picture 1 (counted from 0) ")
    assert words in str(caught.value)


def test_missing_picture_is_named_by_its_path(tmp_path, photo):
    (tmp_path / "1.jpg").write_bytes(encoded(photo))
    paths = [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    assert len(decode_frames(Pictures(paths), lambda info: np.array([0]))) == 1
    with pytest.raises(VideoError, match=r"video a: .*2\.jpg: there is no such file"):
        decode_frames(Pictures(paths), everything, name="a")
    with pytest.raises(VideoError, match="is a folder"):
        decode_frames(Pictures([tmp_path]), everything, name="a")
    with pytest.raises(VideoError, match="not a single picture"):
        decode_frames(Pictures([]), everything)
    with pytest.raises(VideoError, match="size of its frames changes"):
        decode_frames(Pictures([encoded(photo), encoded(photo[:-1])]), everything)
    with pytest.raises(ValueError, match=r"expected frame numbers in 0\.\.0"):
        decode_frames(Pictures([encoded(photo)]), lambda info: np.array([1]))
    for length in (0, 10, 60, 300):
        with pytest.raises(VideoError, match="picture 0"):
            decode_frames(Pictures([encoded(photo, "PNG")[:length]]), everything)
