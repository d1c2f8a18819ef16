"""Opens video files: nothing but video files, whole ones, and none whose frames would fill the memory."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.stream import VideoStream
from etils import epath

from jax_vtm import bucket
from jax_vtm.data.completeness import stated_size, states_too_much
from jax_vtm.data.source import MAX_PIXELS, VideoError, VideoFile, check_size
from jax_vtm.regular_file import file_problem

# The rest of what libav knows are playlists (concat, hls, dash, sdp, ...), which have it open other files and
# addresses, devices, subtitles, sound and pictures.
KINDS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,apng,ivf,obu,av1,h264,hevc,vvc,h263,m4v,mjpeg,vc1,mxf,nut,"
    "rm,dv,wtv,swf,amv,nsv,nuv,yuv4mpegpipe"
)
_PLAYLISTS = (b"ffconcat", b"#EXTM3U", b"v=0", b"<?xml", b"<MPD", b"[playlist]")

# Before its version 19, PyAV refused a video whose title is not UTF-8; since then it has no such option.
_TOLERANT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}

_LARGEST = {"max_pixels": str(MAX_PIXELS)}


@dataclass(frozen=True)
class OpenVideo:
    """An open video file and its video stream, set to decode in the calling thread."""

    file: VideoFile
    name: str
    container: InputContainer
    stream: VideoStream

    @property
    def kind(self) -> str:
        """The kind of file, as libav calls it."""
        return self.container.format.name

    def packets(self, *streams: VideoStream) -> Iterator[av.Packet]:
        """The packets of some streams, or all; the last of each is empty and makes its decoder give what it holds."""
        # PyAV fails where a stream appears on the way, once it has given all packets.
        with contextlib.suppress(IndexError):
            yield from self.container.demux(*streams)


def read_file(path: str | os.PathLike[str], name: str) -> bytes:
    """Reads a file of the video `name`, local or at any address that epath understands; raises `VideoError`."""
    if problem := file_problem(path):
        raise VideoError(name, problem)
    try:
        if os.fspath(path).startswith(bucket.SCHEME):
            # With one request; epath takes three more to look what is there.
            (content,) = bucket.read([os.fspath(path)])
            if content is None:
                raise FileNotFoundError
            return content
        return epath.Path(path).read_bytes()
    # Every kind of address has its own errors, and epath's for one that it does not know is a KeyError.
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            raise VideoError(name, "there is no such file") from error
        raise VideoError(name, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def complete_file(video: VideoFile, name: str) -> VideoFile:
    """Fetches a video that is not on a local disk, and checks that its end is there.

    Raises:
        VideoError: The file is missing, empty, cut short, or no regular file.
    """
    if not isinstance(video, bytes) and "://" in os.fspath(video):
        video = read_file(video, name)
    if not isinstance(video, bytes) and (problem := file_problem(video)):
        raise VideoError(name, problem)
    with stream_of(video) as file:
        stated, too_much = stated_size(file), states_too_much(file)
        size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise VideoError(name, "the file is empty (0 bytes)")
    if stated is not None and size < stated:
        raise VideoError(name, f"the file is cut short: it has {size} of at least {stated} bytes")
    if too_much:
        raise VideoError(name, f"the file is damaged: it states more frames than its {size} bytes can hold")
    return video


def stream_of(video: VideoFile) -> io.BufferedIOBase:
    """Opens a video's bytes for reading."""
    return io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb")


@contextlib.contextmanager
def plain_errors(name: str) -> Iterator[None]:
    """Turns what libav and the file system raise into a `VideoError` that says what it means."""
    try:
        yield
    except (ArgumentError, InvalidDataError) as error:  # the former: of a kind that is not in KINDS
        raise VideoError(name, "cannot be read: it is cut short, damaged or not a video") from error
    except MemoryError as error:
        raise VideoError(name, "takes more memory than there is") from error
    except (FFmpegError, OSError, UnicodeError) as error:
        raise VideoError(name, f"cannot be read ({error})") from error


@contextlib.contextmanager
def opened(video: VideoFile, name: str) -> Iterator[OpenVideo]:
    """Opens a video file; raises `VideoError` if it is none, or its frames are too large."""
    with stream_of(video) as file:
        if (head := file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")).startswith(_PLAYLISTS):
            kind = head.split(maxsplit=1)[0].decode(errors="replace")
            raise VideoError(name, f"is a text ({kind} ...), perhaps a list of other files, which are not opened")
    # "file:" and the lists: neither a file's name nor its content may send libav to another file or address.
    source = io.BytesIO(video) if isinstance(video, bytes) else f"file:{os.fspath(video)}"
    options = {"protocol_whitelist": "file", "format_whitelist": KINDS, **_LARGEST}
    with av.open(source, "r", options=options, **_TOLERANT) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = sorted({stream.type for stream in container.streams})
            raise VideoError(name, f"there is no video in it, only {' and '.join(kinds) or 'nothing'}")
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(name, "there is no decoder for its codec")
        check_size(stream.codec_context.width, stream.codec_context.height, name, "its frames")
        stream.codec_context.options = _LARGEST
        # Videos are decoded in parallel, each in one thread; libav's own threads would compete with those.
        stream.thread_count = 1
        stream.thread_type = "NONE"
        yield OpenVideo(video, name, container, stream)
