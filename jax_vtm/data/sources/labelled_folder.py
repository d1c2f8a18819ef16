"""What folders of videos with a csv file of labels have in common."""

from collections.abc import Mapping, Sequence

from etils import epath

from jax_vtm.data.annotations import read_annotations
from jax_vtm.data.sources.class_names import checked
from jax_vtm.data.tables import first_of
from jax_vtm.errors import UserError


class LabelledFolder:
    """Ids of the videos below a folder, and their labels if there are any.

    Args:
        path: The folder.
        ids: The videos, as paths relative to it.
        labels: The csv file, with exactly one row for each video. By default `labels.csv` in the folder; if there
            is none, the videos are unlabelled.
        num_classes: Number of classes of each head of the model; without it indices go unchecked.
        class_names: Names of the classes by head, in the order of the indices.
        expected: What the csv file's paths should be, for error messages.

    Raises:
        UserError: The csv file does not fit the folder, or there are more or fewer class names than classes.
    """

    def __init__(
        self,
        path: epath.Path,
        ids: Sequence[str],
        labels: epath.Path | None,
        num_classes: Mapping[str, int] | None,
        class_names: Mapping[str, Sequence[str]] | None,
        expected: str,
    ):
        self._path = path
        self._ids = ids
        self._class_names = checked(class_names, num_classes)
        self._labels: dict[str, dict[str, int]] = {}
        csv_path = labels or path / "labels.csv"
        if labels is not None or csv_path.exists():
            self._labels = read_annotations(csv_path, num_classes, self._class_names)
            _check_pairing(ids, self._labels, csv_path, path, expected)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the label columns; empty if the videos are unlabelled."""
        return tuple(self._labels[self._ids[0]]) if self._labels else ()

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes by head, as given."""
        return self._class_names

    def __len__(self) -> int:
        return len(self._ids)


def _check_pairing(
    ids: Sequence[str], labels: Mapping[str, Mapping[str, int]], csv_path: epath.Path, folder: epath.Path, expected: str
) -> None:
    """Every video needs a row, and every row a video."""
    known = set(ids)
    if absent := [video for video in labels if video not in known]:
        raise UserError(
            f"{csv_path}: {len(absent)} of {len(labels)} rows name a video that is not in {folder}: "
            f"{first_of(absent)}; expected {expected}"
        )
    if unlabelled := [video for video in ids if video not in labels]:
        raise UserError(
            f"{csv_path}: has no row for {len(unlabelled)} of the {len(ids)} videos in {folder}: "
            f"{first_of(unlabelled)}; add the rows or move these videos elsewhere"
        )
