import json
import pathlib
import struct
import subprocess
import sys
import types

import pytest
from tiny_evaluation import draw_nothing, write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.commands import finetune
from jax_vtm.config import default_config, load_config
from jax_vtm.errors import UserError
from jax_vtm.evaluation.trackers import open_trackers

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", 9)
    return write_config(folder, folder / "videos")


def run(config, workdir, *words) -> int:
    words = [*words, "--config.data.batch_size=1"]
    return cli.run(["main.py", *words, f"--config={config}", f"--workdir={workdir}"], ROOT)


def scalars(folder):
    """Everything that TensorBoard would draw: {(tag, step): value}."""
    found = {}
    for summary in summaries(folder):
        for value in summary.summary.value:
            if value.HasField("simple_value"):
                found[value.tag, summary.step] = value.simple_value
    return found


def summaries(folder):
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            # Length, its checksum, an event, its checksum.
            (length,) = struct.unpack_from("<Q", data, place)
            yield Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16


class FakeWandb(types.ModuleType):
    """As much of the package as is used."""

    def __init__(self):
        super().__init__("wandb")
        self.begun, self.logged, self.finished = [], [], 0

    def init(self, **settings):
        self.begun.append(settings)
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    package = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def test_evaluate_gives_every_runs_metrics_with_their_counts(config, tmp_path, wandb, monkeypatch):
    draw_nothing(monkeypatch.setattr)
    assert run(config, tmp_path, "--config.trackers=tensorboard,wandb") == exit_codes.SUCCESS
    results = json.loads((tmp_path / "results.json").read_text())
    assert [one["name"] for one in results["runs"]] == ["unmerged", "random_merge r=6"]
    for one, (step, logged) in zip(results["runs"], wandb.logged, strict=True):
        drawn = scalars(tmp_path / "tensorboard" / one["name"].replace(" ", "_"))
        expected = {"macs_per_clip": one["macs_per_clip"], "mac_ratio": one["mac_ratio"]}
        expected |= {key: results["measured"]["runs"][one["name"]][key] for key in ("clips_per_s", "speedup")}
        for name, metric in one["metrics"].items():
            expected |= {name: metric["value"], f"{name}/count": 9, f"{name}/correct": metric["correct"]}
        assert drawn == {(name, 0): pytest.approx(value) for name, value in expected.items()}
        assert (step, logged) == (0, {f"{one['name']}/{name}": value for name, value in expected.items()})
    assert wandb.finished == len(wandb.begun) == 1
    assert wandb.begun[0]["name"] == "tiny"
    assert wandb.begun[0]["config"]["reduction"]["r"] == 6
    (text,) = [value for one in summaries(tmp_path / "tensorboard" / "config") for value in one.summary.value]
    assert '"mode": "random_merge"' in text.tensor.string_val[0].decode()


def test_sweep_gives_every_run_once(config, tmp_path, wandb):
    words = ("--config.trackers=wandb", "--config.sweep.r=3,6", "--config.sweep.runs_per_pass=1")
    assert run(config, tmp_path, "sweep", *words) == exit_codes.SUCCESS
    series = [next(iter(values)).rpartition("/")[0] for _, values in wandb.logged]
    assert series == ["unmerged", "random_merge r=3", "random_merge r=6"]


def test_finetune_gives_losses_and_learning_rates_by_step(tmp_path, wandb):
    config = load_config(ROOT / "configs" / "moving_digits.py")
    config.compilation_cache = ""
    config.trackers = ("wandb", "tensorboard")
    config.model.update({"hidden_size": 16, "num_layers": 1, "mlp_dim": 16})
    config.train.evaluate = False
    config.train.update({"steps": 3, "batch_size": 8, "warmup_steps": 2, "checkpoint_every": 3, "log_every": 1})
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    assert [step for step, _ in wandb.logged] == [1, 2, 3]
    drawn = scalars(tmp_path / "tensorboard" / "train")
    rates = [values["train/learning_rate"] for _, values in wandb.logged]
    # Two steps of warm-up from nothing, then the peak.
    assert rates == pytest.approx([0, config.train.learning_rate / 2, config.train.learning_rate])
    for step, values in wandb.logged:
        assert values["train/loss"] > 0
        for name, value in values.items():
            assert drawn[name.removeprefix("train/"), step] == pytest.approx(value)


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
@pytest.mark.parametrize("command", ["evaluate", "sweep", "finetune"])
def test_a_missing_package_is_said_before_any_work(config, tmp_path, capsys, monkeypatch, name, package, command):
    monkeypatch.setitem(sys.modules, package, None)
    file = ROOT / "configs" / "moving_digits.py" if command == "finetune" else config
    assert run(file, tmp_path / "out", command, f"--config.trackers={name}") == exit_codes.MISTAKE
    assert f'Install it with pip install "jax_vtm[{name}]", or pip install {package}' in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.*"))


def test_an_unknown_tracker_is_answered_with_the_known_ones(tmp_path):
    config = default_config("some")
    config.trackers = ("tensorbord",)
    with pytest.raises(UserError, match="'tensorbord'; known are tensorboard, wandb"):
        open_trackers(config, tmp_path)


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    config = default_config("some")
    config.trackers = ("wandb", "tensorboard")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with open_trackers(config, tmp_path, is_first=False) as trackers:
        trackers.trained(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_who_does_not_ask_does_not_import_them():
    code = (
        "import pathlib, sys\n"
        "from jax_vtm.commands import evaluate, finetune\n"
        "from jax_vtm.sweep import command\n"
        "from jax_vtm.config import default_config\n"
        "from jax_vtm.evaluation import trackers\n"
        "with trackers.open_trackers(default_config('some'), pathlib.Path('nowhere')) as opened:\n"
        "    opened.trained(1, {'loss': 1.0})\n"
        "found = [name for name in sys.modules if name.split('.')[0] in ('wandb', 'tensorboard', 'tensorboardX')]\n"
        "sys.exit(', '.join(found) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
