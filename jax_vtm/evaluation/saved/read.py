"""Finds out what a path is and reads its predictions."""

import os

from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.csv_file import read_csv
from jax_vtm.evaluation.saved.epic_file import read_epic_submission
from jax_vtm.evaluation.saved.npz_file import read_npz
from jax_vtm.evaluation.saved.pickle_file import read_pickle
from jax_vtm.evaluation.saved.predictions import SavedPredictions
from jax_vtm.regular_file import check_regular_file

PREDICTIONS_FILE = "predictions.npz"

_READERS = {".npz": read_npz, ".csv": read_csv, ".json": read_epic_submission}
_READERS |= dict.fromkeys((".pkl", ".pickle", ".pyth", ".pth", ".pt"), read_pickle)


def read_predictions(path: str | os.PathLike[str]) -> SavedPredictions:
    """Reads the predictions in a workdir of an evaluation, or in a file.

    Args:
        path: A folder with a `predictions.npz`; or a file `.npz`, `.csv`, `.json`, or `.pkl`, `.pickle`, `.pt`, `.pth`,
            `.pyth`.

    Raises:
        UserError: There is no such file, or it is none of these, damaged or refused.
    """
    found = epath.Path(path)
    if not found.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if found.is_dir():
        if not (found / PREDICTIONS_FILE).exists():
            raise UserError(f"{path}: has no {PREDICTIONS_FILE}; python main.py evaluate writes one to its workdir")
        return read_npz(found / PREDICTIONS_FILE)
    check_regular_file(path)
    reader = _READERS.get(found.suffix)
    if reader is None:
        raise UserError(
            f"{path}: the suffix {found.suffix!r} says nothing; expected a workdir of an evaluation, or a file with "
            f"one of {', '.join(_READERS)}"
        )
    return reader(found)
