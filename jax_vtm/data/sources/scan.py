"""Finds the videos below a folder: video files, and folders of pictures."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from etils import epath

from jax_vtm.errors import UserError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass
class Found:
    """What lies below a folder, as sorted POSIX paths relative to it.

    Attributes:
        videos: Video files, with their suffixes.
        picture_folders: Folders that pictures lie in, other than the folder itself.
    """

    videos: list[str] = field(default_factory=list)
    picture_folders: list[str] = field(default_factory=list)


def scan(folder: epath.Path) -> Found:
    """Lists what lies below a folder, by the names alone.

    Files and folders whose names begin with a dot are left out, symbolic links are followed.

    Raises:
        UserError: The folder is missing or none.
    """
    check_is_folder(folder)
    found = Found()
    for path in _walk(folder, "", frozenset()):
        if path.lower().endswith(VIDEO_SUFFIXES):
            found.videos.append(path)
        elif "/" in path:
            found.picture_folders.append(path.rpartition("/")[0])
    return Found(sorted(found.videos), sorted(set(found.picture_folders)))


def check_is_folder(folder: epath.Path) -> None:
    """Raises `UserError` if there is no such folder."""
    if not folder.exists():
        raise UserError(f"video folder {folder}: does not exist")
    if not folder.is_dir():
        raise UserError(f"video folder {folder}: is a file, expected a folder of videos")


def sub_folders(folder: epath.Path) -> list[str]:
    """Sorted names of the folders directly in a folder, those that begin with a dot left out.

    Raises:
        UserError: The folder is missing or none.
    """
    check_is_folder(folder)
    names = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entry.name for entry in names if not _is_media(entry) and entry.is_dir())


def _walk(folder: epath.Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """The videos and pictures below a folder; `above` are the folders around it, a guard against circular links."""
    real_path = os.path.realpath(folder)
    if real_path in above:
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        # By name first: asking what an entry is takes a request for each in remote storage.
        if _is_media(entry):
            yield prefix + entry.name
        elif entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", above | {real_path})


def _is_media(entry: epath.Path) -> bool:
    return entry.name.lower().endswith((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))
