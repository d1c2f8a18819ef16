"""Handwritten digits that move over a clip: the embedded default data, rendered when needed.

The digits are real: 1797 images of 8 x 8 pixels, whose origin handwritten_digits.txt names. Each clip shows one of them
(the noun) moving in one of eight directions (the verb) over an endless, faintly shaded background.

The digit starts anywhere and re-enters on the opposite side when it leaves, so at every moment its position is
uniformly distributed whatever the direction: no single frame says which way it moves. Played backwards, every clip is
a clip of the opposite direction with the same frames.
"""

import contextlib
import functools
import pathlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int64, UInt8

from jax_vtm.data.encoding import write_h264
from jax_vtm.data.source import VideoItem, VideoItems
from jax_vtm.errors import UserError

VERBS = ("east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east")
NOUNS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASS_NAMES = {"noun": NOUNS, "verb": VERBS}

NUM_FRAMES = 16
SIZE = 64
FRAMES_PER_SECOND = 12.5

DIGIT_SIZE = 30
SPEED = (1.0, 2.5)
NOISE = 3.0

# Every fifth image is for testing. Training and test images are disjoint; the thirteen writers are not.
TEST_EVERY = 5


@functools.cache
def digits(*, test: bool) -> tuple[Float[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"]]:
    """Returns the 360 test images, or the 1437 others: their ink in [0, 1], and the digit on each."""
    with np.load(pathlib.Path(__file__).with_name("handwritten_digits.npz")) as file:
        images, nouns = file["images"], file["digits"].astype(np.int64)
    chosen = (np.arange(len(nouns)) % TEST_EVERY == 0) == test
    return (images[chosen] / 16.0).astype(np.float32), nouns[chosen]


def training_batch(
    seed: int, step: int, batch_size: int
) -> tuple[Float[np.ndarray, "B T H W 3"], dict[str, np.ndarray], Float[np.ndarray, " B"]]:
    """Renders one batch of augmented training clips; the same seed and step give the same batch.

    Returns:
        Pixels in [-1, 1], int labels [B] of either head, and a mask of ones: no clip is padded.
    """
    images, nouns = digits(test=False)
    rng = np.random.default_rng((seed, step))
    chosen = rng.integers(len(nouns), size=batch_size)
    verbs = rng.integers(len(VERBS), size=batch_size)
    clips = np.stack([render(distorted(images[i], rng), v, rng) for i, v in zip(chosen, verbs, strict=True)])
    labels = {"noun": nouns[chosen], "verb": verbs}
    return clips.astype(np.float32) * np.float32(2 / 255) - 1, labels, np.ones(batch_size, np.float32)


def open_test_videos(folder: pathlib.Path) -> VideoItems:
    """Opens the 1440 test clips, H.264 files in a folder, each of which is written when it is first asked for.

    Each of the 360 test images moves in four directions, every other one of the eight. Several processes may write to
    the folder.

    Raises:
        UserError: The folder, or later a clip, cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    items = []
    for image, noun in enumerate(digits(test=True)[1].tolist()):
        for verb in (image % 2, image % 2 + 2, image % 2 + 4, image % 2 + 6):
            name = f"{image:03d}_{NOUNS[noun]}_{VERBS[verb]}.mp4"
            items.append(VideoItem(name, folder / name, {"noun": noun, "verb": verb}))
    return VideoItems(sorted(items, key=lambda item: item.id), CLASS_NAMES, CLASS_NAMES, _written)


def _written(item: VideoItem) -> VideoItem:
    path = pathlib.Path(item.video)  # type: ignore[arg-type]
    if not path.exists():
        image, verb = int(item.id[:3]), item.labels["verb"]
        number = (verb - image) % len(VERBS) // 2
        ink = enlarged(digits(test=True)[0][image])
        with _writing(path):
            write_h264(path, render(ink, verb, np.random.default_rng((image, number))), fps=FRAMES_PER_SECOND)
    return item


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    """Makes one sentence of what a disk does not take: that is not the fault of one video, but ends the run."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}. Make room, or name another folder for the embedded "
            "videos by the environment variable JAX_VTM_CACHE."
        ) from error


def enlarged(image: Float[np.ndarray, "8 8"]) -> Float[np.ndarray, "S S"]:
    """Draws a digit upright at its standard size."""
    return _drawn(image, np.eye(2))


def distorted(image: Float[np.ndarray, "8 8"], rng: np.random.Generator) -> Float[np.ndarray, "S S"]:
    """Draws a digit turned, sheared and stretched a little, for training."""
    angle = rng.uniform(-0.26, 0.26)
    shear = rng.uniform(-0.2, 0.2)
    stretch = np.diag(rng.uniform(0.85, 1.2, size=2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _drawn(image, turn @ np.array([[1, shear], [0, 1]]) @ stretch)


def _drawn(image, transform) -> Float[np.ndarray, "S S"]:
    from scipy.ndimage import affine_transform

    inverse = transform * (image.shape[0] / DIGIT_SIZE)
    centre = (image.shape[0] - 1) / 2
    offset = centre - inverse @ np.full(2, (DIGIT_SIZE - 1) / 2)
    drawn = affine_transform(image, inverse, offset, output_shape=(DIGIT_SIZE, DIGIT_SIZE), order=3)
    return np.clip(drawn, 0, 1)


def render(ink: Float[np.ndarray, "S S"], verb: int, rng: np.random.Generator) -> UInt8[np.ndarray, "T H W 3"]:
    """Moves a digit over a background.

    Args:
        ink: The digit, 1 where it is drawn.
        verb: Direction, an index of `VERBS`.
        rng: Decides start, speed, colours, shading and sensor noise.
    """
    canvas = np.zeros((SIZE, SIZE), np.float32)
    canvas[: ink.shape[0], : ink.shape[1]] = ink
    angle = 2 * np.pi * verb / len(VERBS)
    velocity = rng.uniform(*SPEED) * np.array([np.sin(angle), np.cos(angle)])
    start = rng.uniform(0, SIZE, size=2)
    alpha = np.stack([shifted(canvas, start + velocity * t) for t in range(NUM_FRAMES)])[..., None]

    background = _shading(rng) + rng.uniform(20, 90, size=3)
    foreground = rng.uniform(150, 250, size=3)
    frames = background + alpha * (foreground - background)
    frames += rng.normal(0, NOISE, size=frames.shape)
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)


def shifted(canvas: Float[np.ndarray, "H W"], offset: np.ndarray) -> Float[np.ndarray, "H W"]:
    """Moves an image by fractions of a pixel (rows, columns) on a torus, by bilinear interpolation."""
    whole = np.floor(offset).astype(int)
    fraction = (offset - whole).astype(np.float32)
    for axis in (0, 1):
        canvas = np.roll(canvas, whole[axis], axis)
        canvas = (1 - fraction[axis]) * canvas + fraction[axis] * np.roll(canvas, 1, axis)
    return canvas


def _shading(rng: np.random.Generator) -> Float[np.ndarray, "H W 1"]:
    """A slow wave of brightness, periodic in both directions."""
    cycles = rng.integers(-1, 2, size=2)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    wave = np.sin(2 * np.pi * (cycles[0] * rows + cycles[1] * columns + rng.uniform()))
    return (12 * wave[..., None]).astype(np.float32)
