"""Which of a folder's pictures are the frames of its video, by their names.

Tools that extract frames number them, and many put optical flow, depth or a preview with them. Taken as frames these
would be shown one after the other, without an error. So one numbered series is the video; what else there is has to be
of a known kind, or a single picture.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORDS = (
    "alpha anno annotation conf confidence cover depth disp disparity edge edges event events flow flowx flowy gt "
    "heatmap ir label labels mask masks matte normal normals opticalflow pose poster preview seg segm segmentation "
    "semantic skeleton thermal thumb thumbnail"
)
_OTHER_SERIES = re.compile(rf"(?<![a-z])({_WORDS.replace(' ', '|')})(?![a-z])|^[uvxy][-_]?#", re.IGNORECASE)


def is_other_series(name: str) -> bool:
    """Whether a name or pattern says that its pictures are computed from frames or recorded with them."""
    return _OTHER_SERIES.search(name) is not None


_SHOWN = 5


def choose_series(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Chooses the frames among a folder's pictures.

    Returns:
        The frames' names in the order of their numbers (`2.jpg` before `10.jpg`), and what is left out: names, or
        patterns such as `flow_x_#.jpg`, where `#` is a number.

    Raises:
        ValueError: Which of several series has the frames is not known, or two pictures have the same number.
    """
    series = _series(names)
    chosen = [pattern for pattern, members in series.items() if len(members) > 1] or list(series)
    if len(chosen) > 1:
        chosen = [pattern for pattern in chosen if not is_other_series(pattern)]
    if len(chosen) != 1:
        found = [f"{pattern} ({len(members)})" for pattern, members in sorted(series.items())]
        more = f" and {len(found) - _SHOWN} others" if len(found) > _SHOWN else ""
        raise ValueError(
            f"its folder holds several series of pictures: {', '.join(found[:_SHOWN])}{more}; expected "
            "the frames alone; move the others elsewhere"
        )
    frames = series.pop(chosen[0])
    return sorted(frames, key=_by_number), sorted(series)


def _series(names: Sequence[str]) -> dict[str, list[str]]:
    """Sorts names into numbered series, by pattern; a picture without a number is a series of its own."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_stem[re.sub("[0-9]+", "#", os.path.splitext(name)[0])].append(name)
    if all("#" not in stem for stem in by_stem):
        # Nothing is numbered: the alphabet has to do.
        return {"pictures without numbers": list(names)} if len(by_stem) == len(names) else _by_suffix("*", names)
    series: dict[str, list[str]] = {}
    for stem, members in by_stem.items():
        for pattern, part in _split_by_other_numbers(stem, members).items():
            suffixes = {_suffix(name) for name in part}
            if len({_numbers(name) for name in part}) == len(part):
                # One series, some of it in another format.
                series[f"{pattern}{'/'.join(sorted(suffixes))}"] = part
            else:
                series.update(_by_suffix(pattern, part))
    return series


def _by_suffix(pattern: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Series of the same numbers in other formats."""
    series: dict[str, list[str]] = defaultdict(list)
    for name in names:
        series[pattern + _suffix(name)].append(name)
    for members in series.values():
        numbers = Counter(map(_numbers, members))
        if pattern != "*" and len(numbers) < len(members):
            twice = [name for name in members if numbers[_numbers(name)] > 1]
            raise ValueError(
                f"its folder holds pictures with the same number: {', '.join(sorted(twice, key=_by_number)[:2])}"
            )
    return series


def _split_by_other_numbers(stem: str, names: list[str]) -> dict[str, list[str]]:
    """Tells `cam1_00001, cam2_00001` from `74225_00001`, and from a clock's `10_59, 11_00`.

    Names with several numbers are several series if the last one starts anew for each value of the others, unless that
    is how minutes and seconds count on: two or three digits, and no word before the first.
    """
    if stem.count("#") < 2:
        return {stem: names}
    parts: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in names:
        parts[_numbers(name)[:-1]].append(name)
    counts = Counter(number for part in parts.values() for number in {_numbers(name)[-1] for name in part})
    shared = {number for number, count in counts.items() if count > 1}
    starts_anew = any(len(shared & {_numbers(name)[-1] for name in part}) > 1 for part in parts.values())
    is_clock = not re.match("[^#]*[A-Za-z]#", stem) and all(
        len(re.findall("[0-9]+", os.path.splitext(name)[0])[-1]) in (2, 3) for name in names
    )
    if len(parts) == 1 or not starts_anew or is_clock:
        return {stem: names}
    return {re.sub("[0-9]+(?=[^0-9]*$)", "#", os.path.splitext(part[0])[0]): part for part in parts.values()}


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower().replace(".jpeg", ".jpg")


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall("[0-9]+", os.path.splitext(name)[0]))


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts digits by their value, before everything else; equal values by their spelling."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [*((int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts), (0, name)]
