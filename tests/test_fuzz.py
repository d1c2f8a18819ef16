"""Damaged files of every form, by fixed seeds: what is read is what was written, or the error is one sentence.

A form is a row of a table: how a whole file is made, and how it is read, to arrays by name. Forms without a
checksum are `undetected`: there, other finite numbers of the same shapes are all that is asked for.
"""

import dataclasses
import json
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints import load_checkpoint, save_checkpoint
from jax_vtm.errors import UserError
from jax_vtm.evaluation import BatchResult, ResumeState
from jax_vtm.evaluation.run_names import effective, run_name
from jax_vtm.merging import Reduction
from jax_vtm.sweep import passes
from jax_vtm.training import States
from jax_vtm.training.step import TrainState

SECONDS = 20.0  # for one file; hundreds of times what a whole one takes
MEMORY = 2 * 2**30  # more than the process had before, at any time
SHAPES = {"Transformer/encoder_norm/scale": (24,), "cls": (1, 1, 24), "embedding/kernel": (2, 4, 4, 3, 24)}
SCENIC = Path(__file__).parent / "golden" / "scenic" / "checkpoints" / "vivit_spacetime"


@dataclasses.dataclass(frozen=True)
class TreeModel:
    """Asks for a few parameters; no network."""

    shapes: tuple = tuple(SHAPES.items())
    input_shape: tuple = (4, 8, 8, 3)
    heads: tuple = (("", 5),)

    def init(self, key, video):
        return {"params": unflatten_dict({path: np.zeros(shape, np.float32) for path, shape in self.shapes}, sep="/")}


@dataclasses.dataclass(frozen=True)
class Form:
    """A kind of file.

    Attributes:
        write: Writes a whole file, or a folder of files, into a folder, and returns the path to be read.
        read: Reads it.
        mutations: How many damaged copies are read.
        undetected: Whether the form has no checksum, so that changed numbers may pass.
        torch: Whether it needs PyTorch.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    mutations: int
    undetected: bool = False
    torch: bool = False


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {path: rng.standard_normal(shape).astype(np.float32) for path, shape in SHAPES.items()}


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    return flatten_dict(load_checkpoint(path, TreeModel())["params"], sep="/")


def write_own(folder: Path) -> Path:
    return Path(save_checkpoint(folder / "checkpoint", unflatten_dict(arrays(), sep="/"), opt_state={"mu": np.ones(9)}))


def write_legacy(folder: Path) -> Path:
    from flax import serialization

    state = {"optimizer": {"target": unflatten_dict(arrays(), sep="/"), "state": {"step": 3}}, "global_step": 3}
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(state))
    return folder / "checkpoint"


def write_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "weights.npz", **arrays())
    return folder / "weights.npz"


def write_safetensors(folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file(arrays(), folder / "model.safetensors")
    return folder / "model.safetensors"


def write_index(folder: Path) -> Path:
    from safetensors.numpy import save_file

    homes = {name: f"part-{place % 2}.safetensors" for place, name in enumerate(SHAPES)}
    for home in set(homes.values()):
        save_file({name: array for name, array in arrays().items() if homes[name] == home}, folder / home)
    (folder / "index.json").write_text(json.dumps({"weight_map": homes}))
    return folder / "index.json"


def batch_of(index: int) -> BatchResult:
    """A made-up batch of two videos."""
    indices = np.array([2 * index, 2 * index + 1], np.int32)
    return BatchResult(
        indices=indices,
        ids=tuple(f"video{number}" for number in indices),
        labels={"label": indices % 3},
        failures={},
        logits={"unmerged": {"label": np.arange(20, dtype=np.float32).reshape(2, 2, 5) + index}},
        step_s={"unmerged": 0.5},
        compile_s={},
        wall_s=1.0,
        data_wait_s=0.5,
        batch_size=2,
        devices="1 x cpu",
    )


FINGERPRINT = {"seed": 3, "reduction.r": (1, 2, 3), "runs": ["unmerged", "merge r=3", "drop r=5"]}


def write_batches(folder: Path) -> Path:
    with ResumeState(folder / "resume", FINGERPRINT) as state:
        for index in range(4):
            state.add(batch_of(index))
    return sorted((folder / "resume").glob("*.npz"))[1]


def read_batches(path: Path) -> dict[str, np.ndarray]:
    """A damaged batch is evaluated again."""
    for _ in range(2):  # what is repaired once stays so
        with ResumeState(path.parent, FINGERPRINT) as state:
            for index in range(4):
                if not state.done.issuperset(batch_of(index).indices.tolist()):
                    state.add(batch_of(index))
            state.flush()
            batches = sorted(state.read(), key=lambda batch: batch.indices[0])
    logits = [batch.logits["unmerged"]["label"] for batch in batches]
    return {"indices": np.concatenate([batch.indices for batch in batches]), "logits": np.concatenate(logits)}


def training_state(step: int) -> TrainState:
    params = {"dense": {"kernel": np.full((12, 10), step, np.float32), "bias": np.full(10, step, np.float32)}}
    opt_state = optax.adam(1e-3).init(jax.tree.map(np.zeros_like, params))
    return TrainState(step=np.asarray(step, np.int32), params=params, opt_state=opt_state)


def write_states(folder: Path) -> Path:
    with States(folder / "states", {}, keep=2) as states:
        for step in (1, 2):
            states.save(training_state(step))
    return folder / "states" / "2"


def read_states(path: Path) -> dict[str, np.ndarray]:
    """Either of the two states is right, as long as it is whole."""
    with States(path.parent, {}, keep=2) as states:
        state = states.restore(training_state(0))
    assert int(state.step) in (1, 2)
    return {name: leaf / state.step for name, leaf in flatten_dict(state.params, sep="/").items()}


WANTED = (Reduction(r=3), Reduction(mode="drop", r=5))


def write_pass(folder: Path) -> Path:
    (one,) = passes.plan_passes(folder, [effective(reduction) for reduction in WANTED], 2)
    fields = [dataclasses.asdict(reduction) for reduction in one.reductions]
    with ResumeState(one.folder / "resume", {"runs": fields}):
        pass
    return one.folder / "resume"


def read_pass(path: Path) -> dict[str, np.ndarray]:
    """What is damaged is planned again."""
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(path.parent, Path(root) / "000")
        planned = passes.plan_passes(Path(root), [effective(reduction) for reduction in WANTED], 2)
    return {"runs": np.array([run_name(reduction) for one in planned for reduction in one.reductions])}


def write_torch(folder: Path, **options: Any) -> Path:
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in arrays().items()}
    torch.save({"model": state, "epoch": 3}, folder / "model.pth", **options)
    return folder / "model.pth"


def write_old_torch(folder: Path) -> Path:
    return write_torch(folder, _use_new_zipfile_serialization=False)


def write_orbax(folder: Path) -> Path:
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "checkpoint_1", {"params": unflatten_dict(arrays(), sep="/")})
    return folder / "checkpoint_1"


FORMS = {
    "our own": Form(write_own, read_checkpoint, 60),
    "msgpack of 2021": Form(write_legacy, read_checkpoint, 40, undetected=True),
    "npz": Form(write_npz, read_checkpoint, 40),
    "safetensors": Form(write_safetensors, read_checkpoint, 40, undetected=True),
    "index": Form(write_index, read_checkpoint, 20, undetected=True),
    "orbax": Form(write_orbax, read_checkpoint, 6, undetected=True),
    "finished batches": Form(write_batches, read_batches, 60),
    "training states": Form(write_states, read_states, 15),
    "pass of a sweep": Form(write_pass, read_pass, 80),
    "PyTorch": Form(write_torch, read_checkpoint, 40, torch=True),
    "PyTorch of before 2020": Form(write_old_torch, read_checkpoint, 20, undetected=True, torch=True),
}


def mutate(path: Path, others: list[bytes], rng: np.random.Generator) -> str:
    """Damages one file of those that lie there, and says how."""
    files = sorted(file for file in (path.parent.rglob("*")) if file.is_file() and file.stat().st_size)
    file = files[rng.integers(len(files))]
    data = bytearray(file.read_bytes())
    start = int(rng.integers(len(data)))
    stop = min(len(data), start + int(rng.integers(1, 200)))
    how = ("flip", "byte", "zero", "cut", "insert", "remove", "swap", "splice")[rng.integers(8)]
    if how == "flip":
        data[start] ^= 1 << int(rng.integers(8))
    elif how == "byte":
        data[start] = int(rng.integers(256))
    elif how == "zero":
        data[start:stop] = bytes(stop - start)
    elif how == "cut":
        del data[start:]
    elif how == "insert":
        data[start:start] = rng.bytes(stop - start)
    elif how == "remove":
        del data[start:stop]
    elif how == "swap":
        data[start:stop] = data[start:stop][::-1]
    else:
        data[start:] = others[rng.integers(len(others))][start:]
    file.write_bytes(data)
    return f"{how} at {start} of {file.name}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The whole files of every form, made once."""
    made: dict[str, Path] = {}

    def path(name: str) -> Path:
        if name not in made:
            made[name] = FORMS[name].write(tmp_path_factory.mktemp("whole"))
        return made[name]

    return path


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.torch if form.torch else ()) for name, form in FORMS.items()]
)
def test_damaged_files_are_read_rightly_or_refused(tmp_path, whole, name, capsys):
    form, source, before = FORMS[name], whole(name), _peak_memory()
    expected = form.read(source)
    others = [whole(other).read_bytes() for other in ("our own", "npz", "safetensors")]
    messages = []
    for seed in range(form.mutations):
        folder = tmp_path / str(seed)
        shutil.copytree(source.parent, folder)
        how = f"{name}, seed {seed}: {mutate(folder / source.name, others, np.random.default_rng(seed))}"
        start = time.monotonic()
        try:
            with warnings.catch_warnings(action="ignore"):
                found = form.read(folder / source.name)
        except UserError as error:
            messages.append(str(error))
        else:
            same = found.keys() == expected.keys() and all(map(np.array_equal, found.values(), expected.values()))
            fits = form.undetected and all(
                array.shape == SHAPES[path] and np.isfinite(array).all() for path, array in found.items()
            )
            assert same or fits, how
        # What is mended is spoken of.
        messages += capsys.readouterr().err.splitlines()
        assert time.monotonic() - start < SECONDS, how
    assert messages, "the damage does not reach what is read"
    assert all(message and "\x1b" not in message for message in messages)
    assert _peak_memory() - before < MEMORY


def _peak_memory() -> int:
    """Returns the most bytes that this process has had; macOS counts them in bytes, Linux in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
