"""Decodes the frames that are drawn of a video, and makes them a training clip."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from jax_vtm.data.augmentation import colour, crops, pil_randaugment, scenic_randaugment
from jax_vtm.data.augmentation.erasing import random_erasing
from jax_vtm.data.augmentation.settings import Augmentation
from jax_vtm.data.augmentation.temporal import random_frames
from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.source import VideoError, VideoInfo, VideoItem
from jax_vtm.data.views import check_elongation
from jax_vtm.errors import UserError

_DRAWN = 2**31 - 1


def training_clips(
    item: VideoItem, protocol: ClipProtocol, augmentation: Augmentation, key: Sequence[int]
) -> Shaped[np.ndarray, "repeats T S S 3"]:
    """Decodes the frames of one clip once, and changes them at random `repeats` times.

    Everything that is drawn follows from `key`, numbers of at least 0, and from nothing else.

    Returns:
        uint8 if `augmentation.is_whole`, else normalised float32.

    Raises:
        VideoError: The video cannot be decoded, or the protocol has to know its frame rate and that is not known.
    """

    def select(info: VideoInfo) -> np.ndarray:
        try:
            return random_frames(protocol, info, np.random.default_rng((*key, 0)))
        except UserError as error:
            raise VideoError(item.id, str(error)) from error

    repeats = range(1, augmentation.repeats + 1)
    augmenters = [_Augmenter(item.id, protocol, augmentation, np.random.default_rng((*key, n))) for n in repeats]
    # [T, repeats, S, S, 3]
    frames = decode_frames(
        item.video,
        select,
        span=item.span,
        fast_jpeg=protocol.fast_jpeg,
        transform=lambda frame: np.stack([augmenter(frame) for augmenter in augmenters]),
        name=item.id,
    )
    return np.stack([augmenter.finish(frames[:, n]) for n, augmenter in enumerate(augmenters)])


class _Augmenter:
    """Changes the frames of one clip, then the whole clip. It belongs to one thread."""

    def __init__(self, name: str, protocol: ClipProtocol, augmentation: Augmentation, rng: np.random.Generator):
        self._name, self._protocol, self._augmentation, self._rng = name, protocol, augmentation, rng
        timm = augmentation.timm_randaugment
        self._operations = pil_randaugment.draw_operations(*timm, rng) if timm else []
        self._shape: tuple[int, int] | None = None

    def __call__(self, frame: UInt8[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "S S 3"]:
        shape = frame.shape[:2]
        if self._shape is None:
            self._shape, self._resizers = shape, self._draw_resizers(shape)
        elif shape != self._shape:
            raise VideoError(self._name, "the size of its frames changes on the way")
        frame = pil_randaugment.apply_operations(frame, self._operations)
        return functools.reduce(lambda scaled, resize: resize(scaled), self._resizers, frame)

    def _draw_resizers(self, shape: tuple[int, int]) -> list[crops.Resizer]:
        size, augmentation, rng = self._protocol.crop, self._augmentation, self._rng
        check_elongation(shape, self._name)
        if augmentation.crop == "scale_jitter":
            scales, corner = rng.uniform(*augmentation.scale, size=2), rng.integers(_DRAWN, size=2)
            return crops.scale_jitter(shape, self._protocol.short_side, size, scales.tolist(), corner.tolist())
        if augmentation.crop == "short_side_jitter":
            side = crops.jittered_side(augmentation.scale, augmentation.inverse, rng)
            return crops.short_side_jitter(shape, side, size, rng)
        return crops.resized_crop(shape, crops.random_box(shape, augmentation.scale, augmentation.aspect, rng), size)

    def finish(self, clip: Shaped[np.ndarray, "T S S 3"]) -> Shaped[np.ndarray, "T S S 3"]:
        """Flips the clip, and changes what concerns all of its frames together."""
        augmentation, rng = self._augmentation, self._rng
        if augmentation.flip and rng.uniform() < 0.5:
            clip = clip[:, :, ::-1]
        if found := augmentation.scenic_randaugment:
            clip = scenic_randaugment.random_augment(clip, *found, rng)
        if self._protocol.channels == "bgr":
            clip = clip[..., ::-1]
        if augmentation.is_whole:
            return clip
        pixels = self._recoloured(self._protocol.normalise(clip))
        random_erasing(pixels, augmentation.erasing, rng)
        return pixels

    def _recoloured(self, pixels: np.ndarray) -> np.ndarray:
        augmentation, rng = self._augmentation, self._rng
        if rng.uniform() < augmentation.colour_probability:
            if augmentation.colour == "slowfast":
                pixels = colour.slowfast_jitter(pixels, rng)
            else:
                mean, std = (np.array(values, np.float32) for values in (self._protocol.mean, self._protocol.std))
                pixels = (colour.recolour(pixels * std + mean, colour.random_factors(rng)) - mean) / std
        return colour.grey(pixels) if rng.uniform() < augmentation.grey_probability else pixels
