"""Finds a dataset's annotation files among those that are named and beside its videos."""

import os
from collections.abc import Callable, Sequence

from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.regular_file import as_path, exists


class AnnotationFiles:
    """The annotation files that somebody named, and the folders that others may lie in.

    Args:
        path: The folder of the videos. It and its folders `annotations` and `labels` are looked into if nothing is
            named.
        named: Files, or folders that they lie in.

    Raises:
        UserError: A named file or folder does not exist.
    """

    def __init__(self, path: epath.Path, named: Sequence[str | os.PathLike[str]]):
        paths = [as_path(name) for name in named]
        if missing := [path for path in paths if not exists(path)]:
            raise UserError(f"annotations {', '.join(map(str, missing))}: there is no such file or folder")
        folders = {path for path in paths if path.is_dir()}
        self._files = [path for path in paths if path not in folders]
        around = [path if path in folders else path.parent for path in paths]
        self._folders = list(dict.fromkeys(around or [path, path / "annotations", path / "labels"]))
        self._looked_for: list[str] = []

    def given(self, fits: Callable[[str], bool]) -> epath.Path | None:
        """The named file whose name fits; None if no file is named that does.

        Raises:
            UserError: There are several.
        """
        fitting = [path for path in self._files if fits(path.name)]
        if len(fitting) > 1:
            raise UserError(f"annotations: {' and '.join(map(str, fitting))} are of one kind, expected one of them")
        return fitting[0] if fitting else None

    def find(self, names: Sequence[str]) -> epath.Path | None:
        """The first file of one of these names in the folders."""
        self._looked_for.extend(names)
        return next((folder / name for folder in self._folders for name in names if exists(folder / name)), None)

    def describe(self) -> str:
        """Says what was looked for, where, and what is there instead."""
        looked_for = ", ".join(dict.fromkeys(self._looked_for))
        there = [_contents(folder) for folder in self._folders if folder.is_dir()]
        absent = [f"there is no {folder}" for folder in self._folders if not folder.is_dir()]
        where = "; ".join([*there, *absent])
        return f"looked for {looked_for} in {where}; annotations that lie elsewhere have to be named"


def _contents(folder: epath.Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{folder} (which holds {shown or 'nothing'})"
