"""Damaged predictions by fixed seeds: they are compared all the same, or refused in one sentence."""

import json
import pickle
import time

import numpy as np
import pytest
from etils import epath

from jax_vtm.comparison.comparison import compare
from jax_vtm.comparison.lists import read_list
from jax_vtm.comparison.matching import complete
from jax_vtm.comparison.read import read_predictions
from jax_vtm.errors import UserError

VIDEOS, CLASSES = 6, {"verb": 7, "noun": 9}
IDS = [f"P01_{k}" for k in range(VIDEOS)]
SCORES = {head: np.random.default_rng(0).normal(size=(VIDEOS, n)).astype(np.float32) for head, n in CLASSES.items()}
LABELS = {head: np.arange(VIDEOS) % n for head, n in CLASSES.items()}
EPIC = {f"{head}_output": values for head, values in SCORES.items()} | {"narration_id": np.array(IDS)}
MUTATIONS = 40


def write_workdir(folder):
    arrays = {f"{run}/logits/{head}": values[:, None] for run in ("a", "b") for head, values in SCORES.items()}
    np.savez(folder / "predictions.npz", ids=IDS, **arrays, **{f"labels/{head}": LABELS[head] for head in LABELS})
    classes = {head: [{"name": f"{head} {k}"} for k in range(n)] for head, n in CLASSES.items()}
    results = {"protocol": {"view_average": "max"}, "runs": [{"name": run, "classes": classes} for run in ("a", "b")]}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def write_npz(folder):
    np.savez_compressed(folder / "x.npz", ids=IDS, logits=SCORES["verb"], labels=LABELS["verb"])
    return folder / "x.npz"


def write_list(folder):
    rows = [f"{video},{LABELS['verb'][k]},{LABELS['noun'][k]}" for k, video in enumerate(IDS)]
    (folder / "list.csv").write_text("\n".join(["narration_id,verb_class,noun_class", *rows]))
    return write("x.pkl", pickle.dumps(EPIC))(folder)


def write(name, content):
    def to(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return to


def table(columns, row):
    return "\n".join([",".join(map(str, columns)), *(",".join(map(str, row(k))) for k in range(VIDEOS))]).encode()


def submission():
    rows = {
        video: {head: {str(c): float(v) for c, v in enumerate(SCORES[head][k])} for head in SCORES}
        for k, video in enumerate(IDS)
    }
    return json.dumps({"results": rows}).encode()


FORMS = {
    "workdir": write_workdir,
    "npz": write_npz,
    "classes.csv": write("x.csv", table(["id", "prediction", "label"], lambda k: (IDS[k], k % 3, k % 2))),
    "scores.csv": write("x.csv", table(["id", *range(7)], lambda k: (IDS[k], *SCORES["verb"][k]))),
    "reference.pkl": write("x.pkl", pickle.dumps([tuple(SCORES.values()), tuple(LABELS.values())], protocol=2)),
    "epic.pkl": write("x.pkl", pickle.dumps(EPIC)),
    "rows.pkl": write("x.pkl", pickle.dumps([{key: values[k] for key, values in EPIC.items()} for k in range(VIDEOS)])),
    "submission.json": write("x.json", submission()),
    "list": write_list,
    "torch.pt": lambda folder: folder / "torch_save.pt",
    "torch.pkl": lambda folder: folder / "pickle_dump_epic.pkl",
    "torch before 1.6": lambda folder: folder / "torch_save_legacy.pt",
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes: bits, bytes, zeros, cuts, parts put in, left out, or moved."""
    for _ in range(rng.integers(1, 4)):
        start, stop = sorted(rng.integers(len(data) + 1, size=2).tolist())
        stop = min(stop, start + 40)
        middle = data[start:stop]
        middle = (
            bytes(byte ^ (1 << rng.integers(8)) if k == 0 else byte for k, byte in enumerate(middle)),
            rng.bytes(1) + middle[1:],
            bytes(len(middle)),
            b"",
            middle + rng.bytes(rng.integers(1, 30)),
            middle + middle,
            middle + b"9" * 20,
            middle[::-1],
        )[rng.integers(8)]
        data = data[:start] + middle + (b"" if rng.random() < 0.1 else data[stop:])
    return data


@pytest.fixture
def written(tmp_path, golden):
    """Writes a whole form into an empty folder."""

    def to(form):
        for name in ("torch_save.pt", "pickle_dump_epic.pkl", "torch_save_legacy.pt") if "torch" in form else ():
            (tmp_path / name).write_bytes((golden / "torch" / "saved_results" / name).read_bytes())
        return FORMS[form](tmp_path)

    return to


def read_and_compare(path, folder):
    listed = read_list(epath.Path(folder / "list.csv")) if (folder / "list.csv").exists() else None
    saved = complete(read_predictions(path), listed)
    results = compare(saved, None if len(saved.runs) > 1 else saved, name="x")[0]
    return json.dumps(results, allow_nan=False)


@pytest.mark.parametrize("form", FORMS)
def test_damaged_predictions_are_compared_or_refused(tmp_path, written, form):
    path = written(form)
    files = sorted(file for file in tmp_path.iterdir() if "torch" not in form or file == path)
    whole = {file: file.read_bytes() for file in files}
    read_and_compare(path, tmp_path)
    refused = []
    for seed in range(MUTATIONS):
        rng = np.random.default_rng(seed)
        file = files[rng.integers(len(files))]
        file.write_bytes(mutated(whole[file], rng))
        start = time.monotonic()
        try:
            read_and_compare(path, tmp_path)
        except UserError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{form}, seed {seed}: {type(error).__name__}") from error
        assert time.monotonic() - start < 20, f"{form}, seed {seed}"
        file.write_bytes(whole[file])
    assert refused
    assert all(str(tmp_path) in message for message in refused)
