"""Lists of videos with their classes: `path index` as most training code reads it, Kinetics' and UCF101's own files."""

import functools
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from etils import epath

from jax_vtm.data.source import SINGLE_HEAD, VideoError, VideoItem, VideoItems
from jax_vtm.data.sources.folders import check_all_there, checked_names, spaced, with_frames
from jax_vtm.data.sources.picture_series import choose_series
from jax_vtm.data.sources.scan import Listing, scan
from jax_vtm.data.tables import BadRow, brief, by_id, class_index, first_of, lines_of, read_table, read_text
from jax_vtm.errors import UserError, shown
from jax_vtm.regular_file import as_path

_SPLITS = (("train", "training"), ("validation", "val", "validate"), ("test", "testing"))
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def spellings(split: str) -> tuple[str, ...]:
    """All names of a part, such as "val" and "validate" for "validation"; just the given one if it is unknown."""
    return next((names for names in _SPLITS if split in names), (split,))


def video_list(
    folder: epath.Path,
    list_path: epath.Path,
    num_classes: Mapping[str, int],
    class_names: Mapping[str, Sequence[str]] | None,
    heads: Sequence[str],
) -> VideoItems:
    """Opens the videos of a list without a header, in its order.

    Each line holds a path and a class index per head, with a space, a tab or a comma between them. Paths are absolute
    or relative to the folder, and lead to video files or to folders of pictures. A video's id is its path relative to
    the folder or, for one elsewhere, its path. Videos in the folder that the list does not name are left out; those
    that it names and that are not there remain, to fail when they are decoded.

    A list of pictures as mmaction2 writes it, `folder pictures index`, is known by its paths, which are folders only
    without the number behind them. That number has to be the number of pictures.

    Raises:
        UserError: The list cannot be read or is wrong, or not one of its videos is there.
    """
    names = checked_names(class_names, num_classes)
    lines = list(lines_of(read_text(list_path)))
    listing = Listing(folder)
    counts_pictures = _counts_pictures(lines, folder, listing, len(heads))
    stated: dict[str, int] = {}

    def parse(line: str) -> tuple[str, VideoItem]:
        video, *values = _split(line, len(heads) + counts_pictures)
        name, place = _place(folder, video)
        if counts_pictures:
            stated[name] = int(values.pop(0))
        indices = zip(heads, values, strict=True)
        return name, VideoItem(name, place, {h: class_index(v, num_classes[h], names.get(h)) for h, v in indices})

    items = _some_there(listing, list_path, list(by_id(list_path, lines, parse).values()), "abseiling/xyz.mp4 0")
    return VideoItems(items, heads, names, functools.partial(_with_pictures, listing, stated))


def _some_there(listing: Listing, list_path: epath.Path, items: list[VideoItem], example: str) -> list[VideoItem]:
    if not items:
        raise UserError(f"{list_path}: the list is empty, expected lines such as {example!r}")
    if not any(listing.exists(_path_of(item)) for item in items):
        raise UserError(
            f"{list_path}: not one of its {len(items)} videos is there; looked for {items[0].video} and so on; "
            "give the folder that its paths are relative to"
        )
    return items


def _split(line: str, count: int) -> list[str]:
    """Takes the last `count` values off a line; the path before them may have spaces and commas in it too."""
    values: list[str] = []
    rest = line
    for _ in range(count):
        start = rest.replace(",", " ").replace("\t", " ").rfind(" ") + 1
        values.insert(0, rest[start:].strip('"'))
        rest = rest[:start].rstrip()
        rest = rest.removesuffix(",").rstrip() if start else ""
    if not rest or not all(values) or rest.endswith(","):
        expected = "a class index" if count == 1 else f"{count} numbers"
        raise BadRow(f"{brief(line)} is not a path and {expected} with a space or a comma between them")
    if len(rest) > 1 and rest[0] == rest[-1] == '"':
        rest = rest[1:-1].replace('""', '"')
    return [rest, *values]


def _counts_pictures(lines: Sequence[tuple[str, str]], folder: epath.Path, listing: Listing, num_heads: int) -> bool:
    """Whether a number of pictures stands before the indices: no path is there with it, and a folder is without it."""
    without = []
    for _, line in lines:
        try:
            if listing.exists(_place(folder, _split(line, num_heads)[0])[1]):
                return False
            video, number, *_ = _split(line, num_heads + 1)
        except BadRow:
            return False
        if not re.fullmatch("[0-9]{1,7}", number):
            return False
        without.append(video)
    return any(listing.is_folder(_place(folder, video)[1]) for video in without)


def _place(folder: epath.Path, video: str) -> tuple[str, str]:
    """A video's id, its path relative to the folder or, for one elsewhere, the whole path; and the path itself."""
    if "://" in video:
        try:
            return video, os.fspath(as_path(video))
        except UserError as error:
            raise BadRow(str(error)) from error
    video = str(PurePosixPath(video.removeprefix(f"{os.fspath(folder).rstrip('/')}/")))
    return video, os.fspath(folder / video)


def _path_of(item: VideoItem) -> str:
    assert isinstance(item.video, str)
    return item.video


def _with_pictures(listing: Listing, stated: Mapping[str, int], item: VideoItem) -> VideoItem:
    folder = _path_of(item)
    try:
        if not listing.is_folder(folder):
            return item
        frames, left_out = choose_series(listing.pictures(folder))
    except (UserError, ValueError) as error:
        raise VideoError(item.id, f"{error}") from error
    if left_out:
        # The same words for all videos that are alike, so that they are said once.
        warnings.warn(shown(f"pictures beside the frames are left out: {first_of(left_out)}"), stacklevel=1)
    if stated.get(item.id, len(frames)) != len(frames):
        raise VideoError(item.id, f"its folder has {len(frames)} pictures, the list says {stated[item.id]}")
    return with_frames(item, frames)


def ucf101_list(folder: epath.Path, list_path: epath.Path, num_classes: int) -> VideoItems:
    """Opens the videos of one of UCF101's official lists, in its order; the head is `label`.

    Each line holds a path relative to the folder, `Class/video.avi`, and in the lists for training a number behind it.
    `classInd.txt`, next to the list, numbers the classes from 1; an index is one less. Videos that are not there
    remain, to fail when they are decoded.

    Raises:
        UserError: Either file cannot be read or is wrong, there are more or fewer classes than the model's, or not one
            video is there.
    """
    classes_path = list_path.parent / "classInd.txt"

    def numbered(line: str) -> tuple[str, str]:
        number, _, name = line.partition(" ")
        return number, name.strip()

    numbers = by_id(classes_path, lines_of(read_text(classes_path)), numbered)
    expected = [f"{number}" for number in range(1, num_classes + 1)]
    if list(numbers) != expected or not all(numbers.values()) or len(set(numbers.values())) != num_classes:
        raise UserError(
            f"{classes_path}: has {len(numbers)} lines, expected '1 NAME' to '{num_classes} NAME', one for each class "
            "of the model; --config.model.num_classes is their number"
        )
    names = list(numbers.values())

    def parse(line: str) -> tuple[str, VideoItem]:
        video, _, number = line.partition(" ")
        name = PurePosixPath(video).parts[0]
        if name not in names or number.strip() not in ("", expected[names.index(name)]):
            raise BadRow(f"{brief(line)} is not a path such as {names[0]}/video.avi, and 1, its class's number")
        return video, VideoItem(video, os.fspath(folder / video), {SINGLE_HEAD: names.index(name)})

    items = list(by_id(list_path, lines_of(read_text(list_path)), parse).values())
    items = _some_there(Listing(folder), list_path, items, f"{names[0]}/video.avi 1")
    return VideoItems(items, [SINGLE_HEAD], {SINGLE_HEAD: names})


def kinetics_csv(
    folder: epath.Path,
    csv_path: epath.Path,
    num_classes: Mapping[str, int],
    class_names: Mapping[str, Sequence[str]] | None,
    split: str | None,
) -> VideoItems:
    """Opens the segments of Kinetics' official csv file, in its order; the head is `label`.

    The file has the columns `label,youtube_id,time_start,time_end` and, where a split is asked for, `split`; others
    do not matter. A segment's id is `<youtube_id>_<start>_<end>` with six digits for either second, and its video is
    the file of that name, whatever its suffix, anywhere below the folder; of several the first in alphabetical order.
    Segments without a file remain, to fail when they are decoded; files that the csv file does not name are left out.

    A class's index is its place in the alphabetical order of all names in the file, whatever their split,
    underscores in them read as spaces. Class names are for a csv file that does not have them all.

    Raises:
        UserError: The csv file cannot be read or is wrong, it has more or fewer classes than the model, or not one
            segment is there.
    """
    files = {PurePosixPath(video).stem: place for video, place in reversed(scan(folder).videos.items())}
    table = read_table(csv_path, [*_COLUMNS, "split"] if split else _COLUMNS, ",".join([*_COLUMNS, "split"]))
    segments = table.by_id(_segment)
    if not segments:
        raise UserError(f"{csv_path}: has a header and no rows")
    named = {label for label, _ in segments.values()}
    if given := checked_names(class_names, num_classes).get(SINGLE_HEAD):
        names = [spaced(name) for name in given]
        if unknown := sorted(named - set(names)):
            raise UserError(f"{csv_path}: names {len(unknown)} unknown classes: {first_of(unknown)}")
    else:
        names = sorted(named)
        check_all_there(names, num_classes[SINGLE_HEAD], f"{csv_path}")
    index = {name: number for number, name in enumerate(names)}
    items = [
        VideoItem(name, files.get(name, os.fspath(folder / f"{name}.mp4")), {SINGLE_HEAD: index[label]})
        for name, (label, of_split) in segments.items()
        if not split or of_split in spellings(split)
    ]
    if not items:
        found = sorted({repr(of_split) for _, of_split in segments.values()})
        raise UserError(f"{csv_path}: no row has the split {split!r}, found {first_of(found)}")
    if not any(item.id in files for item in items):
        others = f"{len(files)} others: {first_of(sorted(files.values()))}" if files else "no videos at all"
        raise UserError(
            f"{csv_path}: not one of its {len(items)} videos is in {folder}; looked for {items[0].id} with the suffix "
            f"of a video, found {others}"
        )
    return VideoItems(items, [SINGLE_HEAD], {SINGLE_HEAD: names})


def _segment(fields: Mapping[str, str]) -> tuple[str, tuple[str, str | None]]:
    """A row's id, its class's name, and its split if the file has that column."""
    for column in ("label", "youtube_id"):
        if not fields[column]:
            raise BadRow("it is empty", column)
    for column in ("time_start", "time_end"):
        if not re.fullmatch(r"[0-9]{1,9}(\.0*)?", fields[column]):
            raise BadRow(f"{brief(fields[column])} is not a whole number of seconds", column)
    start, end = (int(fields[column].partition(".")[0]) for column in ("time_start", "time_end"))
    return f"{fields['youtube_id']}_{start:06d}_{end:06d}", (spaced(fields["label"]), fields.get("split"))
