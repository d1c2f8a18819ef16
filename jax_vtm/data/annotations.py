"""Reads our own annotation lists: one row per video, one column per head."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from etils import epath

from jax_vtm.data.tables import BadRow, class_index, read_table
from jax_vtm.errors import UserError


def read_annotations(
    path: epath.Path,
    num_classes: Mapping[str, int] | None = None,
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, int]]:
    """Reads a csv file with the columns `video` and one per head.

    Args:
        path: UTF-8 text with commas; spaces around values and empty lines do not matter.
        num_classes: Number of classes of each head. Every one needs its column; other columns are ignored.
            Without it every column but `video` is a head, of any number of classes.
        class_names: Names of the classes by head, in the order of their indices. The column of such a head
            may hold names instead of indices.

    Returns:
        Class indices by video id and head.

    Raises:
        UserError: The file cannot be read or any row is wrong; the message names the file, the first problems
            with their lines, and how many there are.
    """
    counts = num_classes or {}
    names = class_names or {}
    table = read_table(path, ["video", *counts], ",".join(["video", *(counts or ["label"])]))
    heads = list(counts) if num_classes is not None else [column for column in table.header if column != "video"]
    if not heads:
        raise UserError(f"{path}: no column with labels in the header (found 'video'), expected 'video,label'")

    def parse(fields: Mapping[str, str]) -> tuple[str, dict[str, int]]:
        if not fields["video"]:
            raise BadRow("no video is named")
        labels = {head: class_index(fields[head], counts.get(head), names.get(head), head) for head in heads}
        return str(PurePosixPath(fields["video"])), labels

    return table.by_id(parse)
