"""What pip installs is whole: the wheel in an empty environment, from a folder where there is no clone."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

import jax_vtm
from jax_vtm.commands.table import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]


def run(*words, cwd, code=0, **environment):
    """Runs a command outside the clone and returns what it says."""
    # Eight simulated devices would each compile and fill a batch of its own.
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XLA_FLAGS")}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=kept | environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what belongs to it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("jax_vtm", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ("--quiet", "--no-build-isolation", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={folder}", source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment with the wheel, and with what is installed here for its requirements."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    packages = pathlib.Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    here = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (packages / "requirements.pth").write_text("\n".join(here))
    options = ("--quiet", "--no-deps", "--no-index", "--ignore-installed")
    run(sys.executable, "-m", "pip", f"--python={python}", "install", *options, wheel, cwd=folder)
    return python.parent


def test_every_file_of_the_package_and_every_config_is_in_it(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = {path for path in (ROOT / "jax_vtm").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    expected = {str(path.relative_to(ROOT)) for path in files}
    expected |= {f"jax_vtm/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert expected <= packed
    assert not [name for name in packed - expected if ".dist-info/" not in name]


def test_it_is_called_in_two_ways_and_takes_configs_by_name(installed, tmp_path):
    program = installed / "jax-vtm"
    assert run(program, "--version", cwd=tmp_path) == f"jax_vtm {jax_vtm.__version__}\n"
    for words in ((program,), (installed / "python", "-m", "jax_vtm")):
        text = run(*words, "--help", cwd=tmp_path)
        assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "config.checkpoint is empty" in run(program, "convert", "--config=videomae_b_k400", cwd=tmp_path, code=2)
    listed = run(program, "--config=vivit_b_16x2_k40", cwd=tmp_path, code=2)
    assert "Did you mean --config=vivit_b_16x2_k400?" in listed
    assert all(path.stem in listed for path in (ROOT / "configs").glob("*.py"))


def test_the_embedded_default_runs_from_another_folder(installed, tmp_path):
    code = "import jax_vtm; print(jax_vtm.__file__)"
    assert run(installed / "python", "-c", code, cwd=tmp_path).startswith(str(installed.parent))
    run(
        installed / "jax-vtm",
        "--config.data.num_videos=4",
        "--config.data.batch_size=1",
        f"--config.compilation_cache={tmp_path / 'cache'}",
        cwd=tmp_path,
        JAX_VTM_CACHE=str(tmp_path / "cache"),
    )
    (results,) = (tmp_path / "runs").glob("*/results.json")
    assert json.loads(results.read_text())["dataset"]["n_ok"] == 4
    assert (results.parent / "report.html").exists()
    assert 4 <= len(list((tmp_path / "cache" / "moving_digits").iterdir())) <= 6
