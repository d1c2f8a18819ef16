"""A clip protocol in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax_vtm.data.pixels import RGB
from jax_vtm.data.spatial import GEOMETRIES

if TYPE_CHECKING:
    from jax_vtm.data.protocol import ClipProtocol

_VIEW_AVERAGES = {
    "logits": "the mean of their logits",
    "softmax": "the mean of their probabilities",
    "max": "the maximum of their logits",
    "max_from_zero": "the maximum of their logits and zero",
}


def describe(protocol: ClipProtocol) -> str:
    """Says every choice that a protocol makes, in a few sentences."""
    sentences = [_frames(protocol), _pixels(protocol)]
    if protocol.fast_jpeg:
        sentences.append("JPEG pictures are decoded with the fast integer transform.")
    if protocol.num_views == 1:
        sentences.append("1 view per video.")
    else:
        average = _VIEW_AVERAGES[protocol.view_average]
        sentences.append(f"{protocol.num_views} views per video, of which the prediction is {average}.")
    return " ".join(sentences)


def _frames(protocol: ClipProtocol) -> str:
    frames, clips = protocol.num_frames, protocol.num_clips
    stride = "consecutive frames" if protocol.stride == 1 else f"frames at stride {protocol.stride}"
    match protocol.sampling:
        case "scenic":
            where = "1 clip from the middle" if clips == 1 else f"{clips} evenly spaced clips"
            after = "from their start" if protocol.pad == "loop" else "with their last frame"
            return f"{where} of {frames} {stride}; shorter videos go on {after}."
        case "videomae":
            where = "1 clip from the middle" if clips == 1 else f"{clips} evenly spaced clips"
            return f"{where} of {frames} {stride}, counted from the first; shorter videos repeat the last of these."
        case "videomae_segments":
            where = "the first frame" if clips == 1 else "evenly spaced frames"
            return f"{_clips(clips)} with {where} of {frames} equal parts of the video; short videos repeat frames."
        case "slowfast_segments":
            return f"1 clip with the middle frames of {frames} equal parts of the video; short videos repeat frames."
    assert protocol.stride is not None
    assert protocol.rate_fps is not None
    start = "that starts with the video" if clips == 1 else f"that start at k/{clips} of what a clip leaves free"
    text = (
        f"{_clips(clips)} {start}: {frames} frames over {protocol.stride * frames / protocol.rate_fps:.2f} s, "
        f"{protocol.stride}/{protocol.rate_fps:g} s apart; shorter videos repeat their last frame"
    )
    match protocol.sampling:
        case "slowfast_paper":
            text += f", and the last frames of a clip come at most {frames - 1} steps after its first"
        case "slowfast_epic":
            text += ", which is the last but one of an action"
    return f"{text}."


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _pixels(protocol: ClipProtocol) -> str:
    if protocol.num_crops == 3:
        crops = "3 crops along the longer side"
    else:
        crops = "the central crop" if protocol.single_crop == "centre" else "the left (of portraits the upper) crop"
    mean, std = _colours(protocol.mean), _colours(protocol.std)
    size, colours = f"{protocol.crop}x{protocol.crop}", protocol.channels.upper()
    return (
        f"Frames scaled to a short side of {protocol.short_side} pixels, {GEOMETRIES[protocol.resize].words}, {crops} "
        f"of {size} pixels; {colours} in 0..1, normalised with mean {mean} and standard deviation {std}."
    )


def _colours(values: RGB) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
