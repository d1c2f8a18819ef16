"""Writes H.264 clips: small, playable anywhere, and the same bytes for the same frames."""

import os
import uuid
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

_CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def write_h264(
    path: str | os.PathLike[str], frames: UInt8[np.ndarray, "T H W 3"], fps: float | Fraction = 25, crf: int = 18
) -> None:
    """Encodes RGB frames as an mp4 file, which appears under its name only when it is complete.

    Args:
        path: File to write or replace; its folder has to exist.
        frames: At least one; height and width have to be even, since colour is stored at half the resolution.
        fps: Frames per second.
        crf: x264's quality, 0 (lossless but for colour) to 51.

    Raises:
        ValueError: No frames, or an odd height or width.
        OSError: The file cannot be written.
    """
    if len(frames) == 0 or frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"expected frames [T >= 1, even H, even W, 3], got shape {frames.shape}")
    path, converter = Path(path), VideoReformatter()
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # Without "bitexact" the muxer writes its version; with more threads than one x264 writes their number.
        with av.open(str(partial), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            rate = Fraction(fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "bf": "0"})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.gop_size = len(frames)
            stream.thread_count = 1
            for pixels in frames:
                frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame = converter.reformat(frame, format="yuv420p", interpolation=_CONVERSION, threads=1)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
