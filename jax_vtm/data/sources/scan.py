"""Finds the videos below a folder: video files, and folders of pictures."""

import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from etils import epath

from jax_vtm import bucket
from jax_vtm.bucket import is_bucket
from jax_vtm.data.sources.picture_series import choose_series
from jax_vtm.errors import UserError
from jax_vtm.regular_file import exists

_CONTAINERS = (
    "264 265 3g2 3gp 3gp2 3gpp amv apng asf av1 avc avi divx dv evo f4v flv gif gxf h261 h263 h264 h265 hevc ivf "
    "m1v m2p m2t m2ts m2v m4v mj2 mjpeg mjpg mk3d mkv mod mov mp2v mp4 mpe mpeg mpg mpv mts mxf nsv nut nuv obu ogm "
    "ogv qt rm rmvb swf tod ts vob webm wm wmv wtv y4m"
)
VIDEO_SUFFIXES = tuple(f".{name}" for name in _CONTAINERS.split())
"""How the names of video files end that libav reads, in lower case."""

PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png")

_TEXT_SUFFIXES = (".csv", ".json", ".md", ".txt")

Entry = tuple[str, str]
"""A name in a folder, and what it is the name of."""


@dataclass
class Found:
    """What lies below a folder, by the names alone.

    Attributes:
        folders: Sorted names of the folders directly in the folder.
        videos: Video files: ids, sorted, to paths.
        picture_folders: Folders that pictures lie in, other than the folder itself: ids, sorted, to paths.
        frames: Names of the frames of picture folders, by the folders' paths.
        series: What `choose_series` leaves out of picture folders by their ids; where it cannot choose, its reason.
        left_out: Numbers of other files, but for lists and notes, by their suffixes; pictures in the folder itself too.
        pictures: Numbers of pictures in picture folders by their suffixes.
    """

    folders: list[str] = field(default_factory=list)
    videos: dict[str, str] = field(default_factory=dict)
    picture_folders: dict[str, str] = field(default_factory=dict)
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)
    series: dict[str, list[str] | ValueError] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)


def scan(folder: epath.Path) -> Found:
    """Lists what lies below a folder, every folder once.

    Files and folders whose names begin with a dot are left out. Links to folders are followed after all else, so that
    videos have their names without links where they have any. An id is the POSIX path relative to the folder,
    `_storable`.

    Raises:
        UserError: The folder is missing or none, one below it cannot be read, or two videos have the same id.
    """
    check_is_folder(folder)
    found, seen, listing = Found(), set(), Listing(folder)
    alike: dict[tuple[str, ...], tuple[str, ...]] = {}
    folders, links = [("", os.fspath(folder))], deque[tuple[str, str]]()
    named_as_videos = []
    while folders or links:
        prefix, path = folders.pop() if folders else links.popleft()
        if (identity := _identity(path)) in seen:
            continue
        seen.add(identity)
        pictures = []
        if not prefix:
            found.folders = [_storable(name) for name, kind in listing.entries(path) if kind != "file"]
        for name, kind in listing.entries(path):
            suffix, place = os.path.splitext(name)[1].lower(), f"{path}/{name}"
            if kind != "file":
                (folders if kind == "folder" else links).append((f"{prefix}{name}/", place))
                if suffix in VIDEO_SUFFIXES:
                    named_as_videos.append((prefix + name, place))
            elif suffix in VIDEO_SUFFIXES:
                _add(found.videos, prefix + name, place)
            elif suffix in PICTURE_SUFFIXES and prefix:
                pictures.append(name)
                found.pictures[suffix] += 1
            elif suffix not in _TEXT_SUFFIXES:
                found.left_out[suffix] += 1
        if pictures:
            name = _add(found.picture_folders, prefix[:-1], path)
            try:
                frames, left_out = choose_series(pictures)
                # Folders whose pictures have the same names share them.
                found.frames[path] = alike.setdefault(tuple(frames), tuple(frames))
                if left_out:
                    found.series[name] = left_out
            except ValueError as error:
                found.series[name] = error
    # One that holds nothing stands where a video should, and fails as one; another may hold a video's pictures.
    if named_as_videos:
        names = [name.split("/") for name in (*found.videos, *found.picture_folders)]
        held = {"/".join(parts[:depth]) for parts in names for depth in range(1, len(parts) + 1)}
        # Among folders of pictures, it is one without any.
        videos = found.picture_folders if found.picture_folders and not found.videos else found.videos
        for name, place in named_as_videos:
            if _storable(name) not in held:
                _add(videos, name, place)
    found.videos = dict(sorted(found.videos.items()))
    found.picture_folders = dict(sorted(found.picture_folders.items()))
    return found


def check_is_folder(folder: epath.Path) -> None:
    """Raises `UserError` if there is no such folder."""
    if not exists(folder):
        raise UserError(f"video folder {folder}: does not exist")
    if not folder.is_dir():
        raise UserError(f"video folder {folder}: is a file, expected a folder of videos")


class Listing:
    """What lies below a folder: of a bucket all of it is listed at once, on a disk each folder when it is asked for.

    Paths elsewhere can be asked for, too; an address there that is called as a video is taken for one.
    """

    def __init__(self, folder: epath.Path):
        self._top = f"{os.fspath(folder)}/"
        self._below = _entries_below(os.fspath(folder)) if is_bucket(folder) else {}

    def entries(self, path: str) -> Sequence[Entry]:
        """Sorted names in a folder, and whether each is a `folder`, a `link` to one, or a `file` of whatever sort."""
        if not is_bucket(path):
            return _entries(path)
        below = self._below if f"{path}/".startswith(self._top) else _entries_below(path)
        return below.get(path, ())

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        if not is_bucket(path) or not path.startswith(self._top):
            return exists(path)
        folder, _, name = path.rpartition("/")
        return path in self._below or (name, "file") in self._below.get(folder, ())

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder of that name."""
        if not is_bucket(path):
            return os.path.isdir(path)
        is_listed = path.startswith(self._top)
        return (
            path in self._below if is_listed else not path.lower().endswith(VIDEO_SUFFIXES) and any(self.entries(path))
        )

    def pictures(self, folder: str) -> list[str]:
        """The names of the pictures directly in a folder; raises `UserError` if it cannot be read."""
        files = (name for name, kind in self.entries(folder) if kind == "file")
        return [name for name in files if name.lower().endswith(PICTURE_SUFFIXES)]


def suffix_counts(counts: Counter[str]) -> str:
    """Numbers of files by their suffixes, in words."""
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in counts.most_common())


def _storable(name: str) -> str:
    r"""A file's name as ids and classes have it, which are written as UTF-8: other bytes in it as `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _add(found: dict[str, str], name: str, path: str) -> str:
    name = _storable(name)
    if name in found:
        raise UserError(f"{path}: another video is called {name!r} too; rename one of them")
    found[name] = path
    return name


def _identity(path: str) -> object:
    """What is the same for two paths of one folder."""
    if "://" in path:
        return path
    try:
        status = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_dev, status.st_ino


def _entries_below(top: str) -> dict[str, list[Entry]]:
    """What `_entries` says of a folder in a bucket and of all below it, which takes one listing."""
    found: dict[str, set[Entry]] = {}
    # Pictures of many videos have the same names.
    shared: dict[Entry, Entry] = {}
    for path in bucket.find(top):
        parts = path.removeprefix(f"{top}/").split("/")
        for depth, name in enumerate(parts):
            # Objects that stand for folders end in a slash.
            if name and not any(part.startswith(".") for part in parts[: depth + 1]):
                entry = (name, "folder" if depth + 1 < len(parts) else "file")
                found.setdefault("/".join((top, *parts[:depth])), set()).add(shared.setdefault(entry, entry))
    return {path: sorted(entries) for path, entries in found.items()}


def _entries(path: str) -> list[Entry]:
    try:
        with os.scandir(path) as entries:
            return sorted((entry.name, _kind(entry)) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise _unreadable(path, error) from error


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "link" if entry.is_symlink() and os.path.isdir(entry.path) else "file"


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"video folder {path}: cannot be read ({error.strerror or error})")
