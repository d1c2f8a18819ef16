"""What holds for the package as a whole: the order of its packages, its requirements, its light import."""

import ast
import os
import pathlib
import pydoc
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
CORE = ("merging", "models", "config", "pytorch", "checkpoints", "data", "evaluation", "training", "reports")
# Each of them knows the core, and none knows another.
FEATURES = (
    *("sweep", "calibration", "comparison", "parity", "studies", "visualization", "benchmarks"),
    *("prediction", "exporting"),
)
ORDER = {name: place for place, name in enumerate(CORE)}
ORDER |= dict.fromkeys(FEATURES, len(ORDER)) | {"commands": len(ORDER) + 1}
MODULES = sorted((ROOT / "jax_vtm").rglob("*.py"))


def imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_from_those_before_it(path):
    home = path.relative_to(ROOT / "jax_vtm").parts[0]
    if home not in ORDER:
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "jax_vtm" and len(parts) > 1 and parts[1] in ORDER:
            assert parts[1] == home or ORDER[parts[1]] < ORDER[home], f"{path} imports {name}"


def test_tensorflow_scenic_and_clu_are_never_imported():
    unwanted = {"tensorflow", "scenic", "clu", "torch", "transformers"}
    for path in MODULES:
        roots = {name.split(".")[0] for name in imported(path)}
        # It is timed beside PyTorch.
        allowed = {"torch"} if path.name == "parts.py" else set()
        # A package of its own, which only the commands that compare import, when they run.
        allowed = {"torch", "transformers"} if path.parent.name == "pytorch" else allowed
        assert not (roots & unwanted) - allowed, path


def test_requirements_txt_lists_what_pyproject_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == project["dependencies"]


def test_the_version_is_said_once_too_often_but_the_same():
    import jax_vtm

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jax_vtm.__version__ == project["version"]
    assert f"## {jax_vtm.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_public_interface_is_listed_and_there():
    import jax_vtm

    assert set(jax_vtm.__all__) < set(dir(jax_vtm))
    assert jax_vtm.checkpoints.from_torch_state_dict
    assert jax_vtm.data.open_videos
    assert jax_vtm.data.decode_frames
    assert jax_vtm.evaluation
    assert jax_vtm.merging.TokenReduction
    shown = pydoc.plain(pydoc.render_doc(jax_vtm))
    for name in ("class Reduction", "create_model(", "load_checkpoint(", "from_scenic_config(", "save_checkpoint("):
        assert name in shown


def test_three_ways_to_call_it_are_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"jax-vtm": "jax_vtm.cli:main"}
    for file in (ROOT / "main.py", ROOT / "jax_vtm" / "__main__.py"):
        assert "sys.exit(main())" in file.read_text()
    words = [sys.executable, "-m", "jax_vtm", "convert", "--config=videomae_b_k400"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: config.checkpoint is empty; give --config.checkpoint=FILE. VideoMAE released")


def test_importing_the_package_and_asking_for_help_does_not_wait_for_jax():
    code = (
        "import sys, pathlib, jax_vtm; from jax_vtm.cli import run;"
        "code = run(['main.py', '--help'], pathlib.Path('configs/moving_digits.py'));"
        "sys.exit(code or ('jax' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readmes_commands_are_those_that_ci_runs():
    readme = (ROOT / "README.md").read_text()
    install = r"python3 -m venv .venv && .venv/bin/pip install -q -e "
    commands = re.findall(rf"^{install}.*$", readme, flags=re.MULTILINE)
    assert len(commands) == 2, "each of the two commands is one line that does its own set-up"
    assert commands[0].endswith(".venv/bin/python main.py")
    assert commands[1].removesuffix(" -q") in (ROOT / ".ci" / "run").read_text()


def test_tests_that_need_pytorch_are_those_that_ci_runs_with_it():
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        assert "mark.torch" in text or 'importorskip("torch")' not in text, path
    assert "-m torch" in (ROOT / ".ci" / "run").read_text()


def test_no_text_names_a_path_of_the_machine_it_was_written_on():
    files = [*MODULES, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("configs/*.py"), ROOT / ".ci" / "run"]
    for path in files:
        assert not re.search(r"(^|[\s\"'(=])/(root|work|tmp|home|opt)/", path.read_text()), path
