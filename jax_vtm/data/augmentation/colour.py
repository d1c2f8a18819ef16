"""Random colours of a clip: Scenic's augmentation, in [0, 1], and PySlowFast's jitter, on what the model takes."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

Clip = Float32[np.ndarray, "T H W 3"]

# Largest shift of brightness, range of saturation and contrast, largest shift of hue.
_BRIGHTNESS, _LOW, _HIGH, _HUE = 32 / 255, 0.6, 1.4, 0.2
_SLOWFAST_JITTER = 0.4
# TensorFlow's and PySlowFast's.
_LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)
_SLOWFAST_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def random_factors(rng: np.random.Generator) -> dict[str, float]:
    """Draws the four arguments of `recolour` by their names."""
    return {
        "brightness": rng.uniform(-_BRIGHTNESS, _BRIGHTNESS),
        "saturation": rng.uniform(_LOW, _HIGH),
        "contrast": rng.uniform(_LOW, _HIGH),
        "hue": rng.uniform(-_HUE, _HUE),
    }


def recolour(clip: Clip, factors: Mapping[str, float]) -> Clip:
    """Changes brightness, saturation, contrast and hue of a clip in [0, 1], in this order, and clips it at the end.

    Source: DMVR, `color_default_augm`, of `tf.image` operations.
    """
    changed = np.empty_like(clip)
    # Frame by frame, which the processor's cache holds.
    for number in range(len(clip)):
        frame = clip[number : number + 1] + np.float32(factors["brightness"])
        frame = adjust_contrast(adjust_saturation(frame, factors["saturation"]), factors["contrast"])
        np.clip(adjust_hue(frame, factors["hue"]), 0, 1, out=changed[number : number + 1])
    return changed


def adjust_saturation(clip: Clip, factor: float) -> Clip:
    """Scales the saturation (largest - smallest) / largest of every pixel, at most to 1; black stays."""
    most, least = _extremes(clip)
    spread = most - least
    wanted = np.clip(spread * np.float32(factor), 0, np.maximum(most, 0))
    ratio = wanted / np.where(spread > 0, spread, 1)
    return clip * ratio[..., None] + (most * (1 - ratio))[..., None]


def adjust_contrast(clip: Clip, factor: float) -> Clip:
    """Scales the distance from the mean of each frame and colour."""
    mean = clip.mean((1, 2), keepdims=True)
    return (clip - mean) * np.float32(factor) + mean


def adjust_hue(clip: Clip, delta: float) -> Clip:
    """Turns the hue by a share of the circle, at most a third; every pixel's largest and smallest value stay."""
    red, green, blue = (np.ascontiguousarray(clip[..., number]) for number in range(3))
    most, least = _extremes(clip)
    spread = most - least
    ahead = np.where(red == most, green - blue, np.where(green == most, blue - red, red - green))
    place = np.where(red == most, 0, np.where(green == most, 2, 4)).astype(np.float32)
    turned = ahead / np.where(spread > 0, spread, 1) + place + np.float32(6 * delta)
    changed = np.empty_like(clip)
    for number in range(3):
        # How far the hue is from where this colour is strongest, around the circle of six.
        away = np.abs(turned - 2 * number)
        changed[..., number] = least + spread * np.clip(2 - np.minimum(away, np.abs(6 - away)), 0, 1)
    return changed


def _extremes(clip: Clip) -> tuple[Float32[np.ndarray, "T H W"], Float32[np.ndarray, "T H W"]]:
    """Returns every pixel's largest and smallest value; numpy is slow along short axes."""
    red, green, blue = clip[..., 0], clip[..., 1], clip[..., 2]
    return np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)


def grey(clip: Clip) -> Clip:
    """Gives all three colours the clip's luma."""
    return np.repeat((clip @ _LUMA)[..., None], 3, -1)


def slowfast_jitter(clip: Clip, rng: np.random.Generator) -> Clip:
    """Scales brightness, contrast and saturation by 0.6 to 1.4 each, in random order, nothing clipped.

    It is applied to normalised values, so that brightness scales the distance from the mean of the data set.

    Source: PySlowFast, `color_jitter`, as Motionformer calls it. Its weights are for blue first and it gets red first;
    so they are taken here.
    """
    for kind in rng.permutation(3):
        luma = (clip @ _SLOWFAST_LUMA[::-1])[..., None]
        other = (np.float32(0), luma.mean((1, 2), keepdims=True), luma)[kind]
        clip = other + (clip - other) * np.float32(1 + rng.uniform(-_SLOWFAST_JITTER, _SLOWFAST_JITTER))
    return clip
