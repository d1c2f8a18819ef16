"""The README's commands work in its order, and what it and docs/ say of configs, presets and files is so."""

import pathlib
import re
import shlex
import tomllib
from typing import Any

import numpy as np
import pytest

import jax_vtm
from jax_vtm import cli
from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.commands.table import COMMANDS
from jax_vtm.config import flattened, load_config
from jax_vtm.data import write_h264
from jax_vtm.models.presets import PRESETS
from jax_vtm.models.releases import RELEASES

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
MODELS = (ROOT / "docs" / "models.md").read_text()
CONFIGS = {path.stem: path for path in (ROOT / "configs").glob("*.py")}
# Of a model and a data set whose accuracy is published.
CONFIGS = {name: path for name, path in CONFIGS.items() if load_config(path).data.name not in ("", "moving_digits")}
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", MODELS, re.MULTILINE)}


def numbers(text):
    """Accuracies: numbers with digits after the point."""
    return re.findall(r"\b\d\d\.\d+\b", text)


@pytest.mark.parametrize("name", CONFIGS)
def test_published_accuracies_are_those_of_the_config(name):
    doc = CONFIGS[name].read_text().split('"""')[1]
    *_, authors, paper, _ = ROWS[name].split("|")
    views = re.findall(r"\d+x\d+", authors)
    assert numbers(authors) + numbers(paper) == [number for number in numbers(doc) if number != "56.5"]  # nouns alone
    assert len(views) == len(numbers(authors)) <= 1
    assert all(f"with {view} views" in doc for view in views)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if "top-1" in preset.source])
def test_published_accuracies_are_those_of_the_preset(name):
    assert set(numbers(PRESETS[name].source)) <= set(numbers(ROWS[name]))


@pytest.mark.parametrize("name", [name for name in CONFIGS if "standard" in CONFIGS[name].read_text()])
def test_published_accuracies_of_presets_and_configs_are_the_same(name):
    authors = ROWS[name].split("|")[3]
    assert set(numbers(authors)) <= set(numbers(ROWS[load_config(CONFIGS[name]).model.name]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_commands_and_keys_exist(page):
    text = page.read_text()
    for path in re.findall(r"\]\(((?!http)[^)#]*)[^)]*\)|`(jax_vtm/[\w/.]+)`", text):
        path = "".join(path)
        base = ROOT if path.startswith("jax_vtm/") else page.parent
        assert not path or (base / path).exists(), path
    for config in re.findall(r"--config[= ]([a-z][\w/.]*)", text):
        path = ROOT / config if "/" in config else ROOT / "configs" / f"{config}.py"
        assert path.is_file(), config
    for command in re.findall(r"(?:main\.py|jax-vtm) ([a-z]\w*)", text):
        assert command in COMMANDS
    known = {key for key, _ in flattened(load_config(ROOT / "configs" / "moving_digits.py"))}
    # Every field of a model is a flag.
    known |= {f"model.{field}" for field in PRESETS["vivit_b_16x2"].build.__dataclass_fields__}
    # A schedule's file takes the place of the whole section.
    known.add("reduction")
    for key in re.findall(r"--config\.([\w.]+)|`((?:data|reduction|model)\.\w+)`", text):
        assert "".join(key).rstrip(".") in known, key


def test_links_to_sections_lead_somewhere():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(((?!http)[^)#]*)#([^)]+)\)", page.read_text()):
            titles = re.findall(r"^#+ (.+)$", (page.parent / target if target else page).read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 200
    assert max(map(len, lines)) <= 120


# On a part of the videos, and with a small model in the place of a large one: that is what takes long.
FEW = ("--config.data.num_videos=8", "--config.data.batch_size=1", "--config.compilation_cache=")
FIELDS: dict[str, Any] = {
    "num_frames": 4,
    "image_size": 32,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 16,
}
SMALL = (
    *(f"--config.model.{field}={value}" for field, value in FIELDS.items()),
    "--config.data.short_side=32",
    "--config.data.stride=2",
)
SHORT = {
    "sweep": ("--config.sweep.mode=merge", "--config.sweep.inflection=0.0"),
    "benchmark": tuple(
        f"--config.benchmark.{key}" for key in ("axes=batch=1", "rounds=1", "min_seconds=0", "videos=1")
    ),
    "visualize": ("--config.visualize.num_videos=1",),
    "clip_splicing": ("--config.study.donors=random",),
    "layer_duplication": ("--config.study.times=4", "--config.study.layers=0,3"),
}
COMMAND_LINES = re.findall(r"^(?:jax-vtm|python3 -m venv .*main\.py).*$", README, flags=re.MULTILINE)
NEEDS_PYTORCH = "jax-vtm parity"
# Minutes, which test_device.py, test_sweep.py and test_calibrate.py have in small.
LONG = (
    "jax-vtm benchmark --config.benchmark.what=device",
    "jax-vtm sweep --config=equal_cost",
    "jax-vtm calibrate",
)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder to work in, with videos and a checkpoint next to it, and a cache that has ViViT's release."""
    home = tmp_path_factory.mktemp("stranger")
    for name in ("empty", "videos"):
        (home / name).mkdir()
    for number in range(3):
        frames = np.random.default_rng(number).integers(256, size=(20, 64, 80, 3), dtype=np.uint8)
        write_h264(home / "videos" / f"{number}.mp4", frames)
    (home / "videos" / "val.csv").write_text("0.mp4 7\n1.mp4 399\n2.mp4 0\n")
    model = jax_vtm.create_model("vivit_b_16x2", num_classes=400, **FIELDS)
    params = random_params(model)
    url = RELEASES["vivit_b_16x2", "kinetics400"].url
    save_checkpoint(home / "cache" / "checkpoints" / url.partition("://")[2], params)
    checkpoint = locate_checkpoint("embedded:moving_digits")
    return home, {"CHECKPOINT": checkpoint, "FILE": home / "videos" / "0.mp4", "FOLDER": home / "videos"}


def words_of(line: str, things: dict[str, pathlib.Path]) -> list[str]:
    """The words of a line of the README, of which the last ones make it short."""
    words = shlex.split(line, comments=True)
    words = words[1:] if words[0] == "jax-vtm" else words[words.index(".venv/bin/python") + 2 :]
    words = [word.replace("checkpoint=FILE", "checkpoint=CHECKPOINT") for word in words]
    for name, thing in things.items():
        words = [re.sub(rf"\b{name}\b", str(thing), word) for word in words]
    short = [flag for name, flags in SHORT.items() if any(name in word for word in words) for flag in flags]
    return [*words, *FEW, *short, *(SMALL if "vivit_b_16x2_k400" in line else ())]


def test_the_readmes_commands_work_in_its_order_in_an_empty_folder(stranger, monkeypatch, capsys):
    home, things = stranger
    monkeypatch.chdir(home / "empty")
    monkeypatch.setenv("JAX_VTM_CACHE", str(home / "cache"))
    lines = [line for line in COMMAND_LINES if not line.startswith((NEEDS_PYTORCH, *LONG))]
    assert len(lines) >= 12
    for line in lines:
        code = cli.run(["jax-vtm", *words_of(line, things)])
        printed = capsys.readouterr()
        assert code == 0, f"{line}\n{printed.err}"
        for folder in re.findall(r"^results in ([^:]+):", printed.out, flags=re.MULTILINE):
            assert pathlib.Path(folder).is_dir(), line
    # Evaluations that differ have folders of their own, and what shares one is a folder in it.
    assert len(list(pathlib.Path("runs").glob("moving_digits-*/results.json"))) == 3
    assert len(list(pathlib.Path("runs").glob("moving_digits-*/compare"))) == 1


@pytest.mark.torch
def test_the_command_that_needs_pytorch_works_too(stranger, monkeypatch, capsys):
    pytest.importorskip("torch")
    home, things = stranger
    monkeypatch.chdir(home / "empty")
    monkeypatch.setenv("JAX_VTM_CACHE", str(home / "cache"))
    (line,) = (line for line in COMMAND_LINES if line.startswith(NEEDS_PYTORCH))
    words = [*words_of(line, things), "--config.parity.clips=1", "--config.parity.rounds=1"]
    assert cli.run(["jax-vtm", *words]) == 0, capsys.readouterr().err


def test_what_is_installed_by_name_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        assert set(re.findall(r"\.\[(\w+)\]", page.read_text())) <= set(extras)
