"""Files from the field and hostile ones: the right frames, or a `VideoError` that says why there are none."""

import io
import resource
import struct
import warnings
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest
from PIL import Image

from jax_vtm.data import Pictures, VideoError, VideoItem, batches, decode_frames
from jax_vtm.data.cutting import cut_span
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.views import load_frames

COUNT = 40


def everything(info):
    return np.arange(info.num_frames)


def pick(numbers, info):
    return np.array(numbers)


def reason_of(video, **kwargs):
    with pytest.raises(VideoError) as caught:
        decode_frames(video, everything, **kwargs)
    return caught.value.reason


def copied(source, target):
    """Copies a video's packets into another container, time stamps included."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def packed(source, target):
    """Joins each P frame with the B frame after it, and puts an empty packet after them, as DivX and Xvid did."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        template = old.streams.video[0]
        stream = new.add_stream_from_template(template)
        data = [bytes(packet) for packet in old.demux(template) if packet.size]
        is_b = [frame[frame.index(b"\0\0\1\xb6") + 4] >> 6 == 2 for frame in data]
        joined = []
        for frame, follows in zip(data, [*is_b[1:], False], strict=True):
            if joined and joined[-1] is None:
                joined[-1] = b"\0\0\1\xb6\x52\x7f\xff"
            elif follows:
                joined += [frame + data[data.index(frame) + 1], None]
            else:
                joined.append(frame)
        cut = joined[0].index(b"\0\0\1\xb6")
        joined[0] = joined[0][:cut] + b"\0\0\1\xb2DivX503b1393p" + joined[0][cut:]
        for place, frame in enumerate(joined):
            packet = av.Packet(frame)
            packet.pts = packet.dts = place
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 25), place == 0, stream
            new.mux(packet)
    return target


REORDERED = {
    "h264": ("libx264", {"x264-params": "keyint=12:bframes=2:b-adapt=0"}),
    "h264, open groups": ("libx264", {"x264-params": "keyint=12:bframes=3:open-gop=1:b-adapt=0"}),
    "h264, pyramid": ("libx264", {"x264-params": "keyint=250:bframes=7:b-pyramid=normal:b-adapt=0"}),
    "h264, delayed": ("libx264", {"x264-params": "keyint=12:bframes=0"}),
    "mpeg4": ("mpeg4", {"bf": "2", "g": "12"}),
    "mpeg4, packed": ("mpeg4", {"bf": "1", "g": "30"}),
}


@pytest.fixture(scope="module", params=REORDERED)
def reordered(request, tmp_path_factory, encode, frames):
    """An AVI file, which does not say when its frames are shown, and its copies in containers that do."""
    codec, options = REORDERED[request.param]
    folder = tmp_path_factory.mktemp("reordered")
    path = encode(folder / "a.avi", frames(COUNT), codec, options=options)
    path = packed(path, folder / "b.avi") if "packed" in request.param else path
    return [path, *(copied(path, folder / f"c.{suffix}") for suffix in ("mkv", "mp4"))]


def test_frames_are_numbered_in_the_decoders_order(reordered, read_numbers):
    for path in reordered:
        assert read_numbers(decode_frames(path, everything)) == list(range(COUNT)), path
        for wanted in ([0], [COUNT - 1], *([number] for number in range(10, 26)), [30, 3, 3]):
            assert read_numbers(decode_frames(path, partial(pick, wanted))) == wanted, path
        for first, stop in ((0, 10), (10, 20), (25, 30), (36, 40)):
            decoded = decode_frames(path, everything, span=(first / 25, stop / 25))
            assert read_numbers(decoded) == list(range(first, stop)), path


def test_frames_that_are_never_shown_are_not_counted(tmp_path, encode, frames, read_numbers):
    """VP8 keeps them in packets of their own."""
    pixels = frames(COUNT)
    pixels[:, 8:] = np.random.default_rng(0).integers(0, 256, (COUNT, 40, 96, 3), np.uint8)
    data = encode(tmp_path / "a.webm", pixels, "libvpx", options={"g": "13", "cpu-used": "8"}).read_bytes()
    with av.open(io.BytesIO(data)) as container:
        hidden = next(packet for packet in container.demux(video=0) if packet.pts == 5 * 40)
    place = data.index(bytes(hidden))
    changed = data[:place] + bytes([data[place] & ~16]) + data[place + 1 :]
    numbers = [number for number in range(COUNT) if number != 5]
    assert read_numbers(decode_frames(changed, everything)) == numbers
    assert read_numbers(decode_frames(changed, lambda info: np.array([30]))) == [31]


HOLES = {
    "a.webm": ("libvpx-vp9", {"g": "10", "cpu-used": "8"}),
    "b.webm": ("libvpx", {"g": "10", "cpu-used": "8"}),
    "a.mkv": ("libx265", {"x265-params": "keyint=12:log-level=none"}),
    "b.mkv": ("libx264", {"g": "10"}),
    "a.avi": ("mpeg4", {"g": "10"}),
    "a.ts": ("libx264", {"g": "10"}),
    "a.mpg": ("mpeg2video", {"g": "10"}),
    "a.wmv": ("wmv2", {"g": "10"}),
    "a.flv": ("libx264", {"g": "10"}),
    "a.mp4": ("libx264", {"g": "10"}),
}


@pytest.fixture(scope="module", params=HOLES)
def whole(request, tmp_path_factory, encode, frames):
    codec, options = HOLES[request.param]
    pixels = frames(60)
    pixels[:, 8:] = np.random.default_rng(0).integers(0, 256, (60, 40, 96, 3), np.uint8)
    return encode(tmp_path_factory.mktemp("whole") / request.param, pixels, codec, options=options).read_bytes()


def test_a_file_with_a_hole_fails(whole):
    assert len(decode_frames(whole, everything)) == 60
    # In MPEG-PS and ASF only zeros are looked for.
    fillings = (b"\0",) if whole.startswith((b"\0\0\1", b"0&")) else (b"\0", b"\xff")
    for start, length in ((0.5, 0.5), (0.4, 0.2), (0.7, 0.1)):
        first, size = int(start * len(whole)), int(length * len(whole))
        for filling in fillings:
            damaged = whole[:first] + size * filling + whole[first + size :]
            assert "damaged" in reason_of(damaged)
            if filling == b"\0" and not whole.startswith(b"\0\0\1"):  # MPEG-PS, of which a long hole alone is seen
                with pytest.raises(VideoError, match="damaged"):
                    decode_frames(damaged, partial(pick, [0]))


def test_what_is_appended_does_not_matter(tmp_path, encode, frames):
    for file in ("a.mp4", "a.webm", "a.avi"):
        data = encode(tmp_path / file, frames(5), "libvpx-vp9" if file == "a.webm" else "mpeg4").read_bytes()
        for more in (bytes(5000), b"\xff" * 100, b"appended"):
            assert len(decode_frames(data + more, everything)) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x10ftypisom\0\0\0\0" + 3 * (b"\0\0\0\1moov" + b"\xff" * 8),
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 6 + b"\xfe",
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"FLV\1\1\0\0\0\x09" + b"\xff" * 40,
    ],
)
def test_any_size_may_be_stated(tmp_path, encode, frames, data):
    assert "cut short" in reason_of(data)
    packets = bytearray(encode(tmp_path / "a.wmv", frames(5), "wmv2").read_bytes())
    struct.pack_into("<Q", packets, packets.index(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")) + 16, 1 << 62)
    assert len(decode_frames(bytes(packets), everything)) == 5


def test_a_file_that_ends_before_its_time_fails(tmp_path, encode, frames):
    path = encode(tmp_path / "a.webm", frames(50), "libvpx-vp9", options={"g": "10", "cpu-used": "8"})
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3
    assert struct.unpack_from(">d", data, place) == (2000,)  # ms
    struct.pack_into(">d", data, place, 4000)
    assert reason_of(bytes(data)) == "the file is damaged: it states 4.00 s, and ends after 2.00 s"
    struct.pack_into(">d", data, place, 2400)
    assert len(decode_frames(bytes(data), everything)) == 50


class Unseekable(io.RawIOBase):
    """Where a live recording goes: its writer cannot go back to say how long it was."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += bytes(data)
        return len(data)

    def writable(self):
        return True

    def seekable(self):
        return False


@pytest.mark.parametrize(("kind", "codec"), [("webm", "libvpx-vp9"), ("matroska", "libx264"), ("flv", "libx264")])
def test_live_recordings_have_no_length(encode, frames, read_numbers, kind, codec):
    file = Unseekable()
    encode(file, frames(30), codec, format=kind)
    assert read_numbers(decode_frames(file.data, everything)) == list(range(30))


@pytest.mark.parametrize(
    ("file", "codec", "options"),
    [
        ("sound.mkv", "libx264", {"sound": 6}),
        ("sound.avi", "mpeg4", {"sound": 6}),
        ("short_sound.mkv", "libx264", {"sound": 0.3}),
        ("pauses.webm", "libvpx-vp9", {"pts": [*range(20), *range(200, 219), 400]}),
        ("late.mkv", "libx264", {"pts": list(range(1000, 1040))}),
        ("clusters.mkv", "libx264", {"muxer": {"cluster_size_limit": "500"}}),
    ],
)
def test_unusual_files_are_not_refused(tmp_path, encode, frames, read_numbers, file, codec, options):
    path = encode(tmp_path / file, frames(COUNT), codec, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_numbers(decode_frames(path, everything)) == list(range(COUNT))


@pytest.mark.parametrize(
    ("file", "stated", "stamps", "fps"),
    [
        ("a.webm", 1000, [int(33.37 * number) for number in range(60)], 29.97),
        ("a.mkv", 25, [94 * number for number in range(60)], 1000 / 94),
        ("b.mkv", 25, [50 * number for number in range(60)], 25),
    ],
)
def test_the_rate_of_the_time_stamps_counts_where_the_stated_one_is_far_off(
    tmp_path, encode, frames, file, stated, stamps, fps
):
    codec = "libvpx" if file == "a.webm" else "libx264"
    path = encode(tmp_path / file, frames(60), codec, rate=stated, clock=Fraction(1, 1000), pts=stamps)
    told = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):
            decode_frames(path, lambda info: told.append(info.fps) or np.array([0]), name="cats/1")
    assert told == [pytest.approx(fps, rel=1e-3)] * 2
    expected = [] if fps == stated else [f"video cats/1: states {stated} frames per second, and by its time stamps"]
    assert [str(one.message)[:59] for one in said] == [text[:59] for text in expected]


def test_a_title_that_is_not_utf8(tmp_path, encode, frames, read_numbers):
    path = encode(tmp_path / "a.mp4", frames(COUNT), options={"g": "12"}, prepare=lambda stream: None)
    title = b"\0\0\0\x20udta\0\0\0\x18\xa9nam\0\x0c\x15\xc7AB\xe9\x8c" + b"\xe9" * 8
    data = path.read_bytes()
    size, moov = struct.unpack(">I", data[data.index(b"moov") - 4 :][:4])[0], data.index(b"moov") - 4
    titled = data[:moov] + struct.pack(">I", size + len(title)) + data[moov + 4 : moov + size] + title
    titled += data[moov + size :]
    with av.open(io.BytesIO(titled), metadata_errors="replace") as container:
        assert "\ufffd" in str(container.metadata)
    cut, span = cut_span(titled, (0.5, 1.0), "a")
    for video, part in ((titled, (0.5, 1.0)), (cut, span)):
        assert read_numbers(decode_frames(video, everything, span=part)) == list(range(13, 25))


PLAYLISTS = {
    "ffconcat": b"ffconcat version 1.0\nfile {}\n",
    "ffconcat after a comment": b"# mine\nffconcat version 1.0\nfile {}\n",
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "dash": b'<?xml version="1.0"?>\n<MPD type="static"><Period><AdaptationSet mimeType="video/mp4"><Representation '
    b'id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n",
    "text": b"this is no video\n" * 50,
    "html": b"<html><body>404</body></html>",
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nwords\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("other", [b"ok.mp4", b"http://127.0.0.1:9/a.mp4"])
def test_playlists_and_texts_are_no_videos(tmp_path, encode, frames, monkeypatch, kind, other):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "ok.mp4", frames(3))
    text = PLAYLISTS[kind].replace(b"{}", other)
    (tmp_path / "list.mp4").write_bytes(text)
    for video in (tmp_path / "list.mp4", text):
        reason = reason_of(video)
        assert "not a video" in reason or "a list of other files, which are not opened" in reason


def picture(kind, width, height, declared=None, **options):
    """A picture of one colour; `declared` is a place and the bytes that stand there instead."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, kind, **options)
    data = bytearray(file.getvalue())
    if declared:
        place, size = declared
        place = data.index(place[0]) + place[1]
        data[place : place + len(size)] = size
    return bytes(data)


HUGE = {
    "jpeg": (picture("JPEG", 8, 8, ((b"\xff\xc0", 5), struct.pack(">HH", 65500, 65500))), "65500 x 65500"),
    "png": (picture("PNG", 9000, 8000), "9000 x 8000"),
    "gif": (picture("GIF", 8, 8, ((b"GIF8", 6), struct.pack("<HH", 9000, 9000))), "9000 x 9000"),
    "webp": (picture("PPM", 8, 8, ((b"8 8", 0), b"99999 9999")), "9999"),
    "bmp": (picture("BMP", 8, 8, ((b"BM", 18), struct.pack("<ii", 30000, 30000))), "900000000 pixels"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_huge_pictures_are_refused_before_there_is_room_for_them(kind):
    data, size = HUGE[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VideoError, match=size):
        decode_frames(Pictures([data]), everything)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_pictures_of_other_kinds(tmp_path):
    item = VideoItem("a", Pictures([picture("JPEG", 65000, 2)]))
    with pytest.raises(VideoError, match="65000 x 2 pixels; one side may be 64 times the other"):
        load_frames(item, ClipProtocol(2, 1, short_side=256, crop=224))
    # PIL would start a program for PostScript.
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n" + b"0 0 moveto\n" * 9
    with pytest.raises(VideoError, match="no picture"):
        decode_frames(Pictures([data]), everything)
    assert "cannot be read" in reason_of("nothing://bucket/a.mp4")


def test_huge_frames_are_refused(tmp_path, encode, frames):
    data = bytearray(encode(tmp_path / "a.webm", frames(5), "libvpx").read_bytes())
    place = 0
    while (place := data.find(b"\x9d\x01\x2a", place) + 3) > 2:  # what a key frame begins with, before its size
        data[place : place + 4] = struct.pack("<HH", 16383, 16383)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "its frames are too large" in reason_of(bytes(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("muxer", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_more_frames_than_bytes_are_refused(tmp_path, encode, frames, muxer):
    data = bytearray(encode(tmp_path / "a.mp4", frames(5), "mpeg4", muxer=muxer).read_bytes())
    place = data.index(b"trun" if muxer else b"stsz") + 4
    struct.pack_into(">II" if muxer else ">III", data, place, *([0, 9**9] if muxer else [0, 1, 9**9]))
    assert "states more frames" in reason_of(bytes(data))


@pytest.mark.parametrize("where", ["source", "decoding"])
def test_a_video_that_fills_the_memory_fails_alone(tmp_path, encode, frames, where, monkeypatch):
    path = encode(tmp_path / "a.mp4", frames(3))
    items = [VideoItem(name, path) for name in "abc"]

    def fail(*args, **kwargs):
        raise MemoryError

    class Source(list):
        heads = ()

        def __getitem__(self, index):
            return fail() if where == "source" and index == 1 else items[index]

    protocol = ClipProtocol(2, 1, 32, 32)
    if where == "decoding":
        items[1] = VideoItem("b", Pictures([picture("PNG", 64, 48)]))
        monkeypatch.setattr(Image.Image, "convert", fail)
    (batch,) = batches(Source(items), protocol, 3, num_threads=1)
    assert batch.mask.tolist() == [True, False, True]
    assert batch.failures[0].reason.endswith("takes more memory than there is")
