"""The commands of docs/pods.md, as far as they run on one machine without accelerators, and its arithmetic."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from jobs import free_port
from tiny_evaluation import write_config, write_videos

import jax_vtm
from jax_vtm import cli

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pods.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

SSH = """#!/bin/bash
shift
exec bash -c "$*"
"""

# What Slurm tells two tasks on one node.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
export SLURM_JOB_ID=7 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
for k in 0 1; do SLURM_PROCID=$k SLURM_LOCALID=$k "$@" & done
wait
"""


def block(text: str, language: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return code


def here(code: str) -> str:
    """Puts this machine in place of those of the page."""
    for host in ("host-a:8476", "vtm-0.vtm:8476"):
        code = code.replace(host, f"localhost:{free_port()}")
    return code.replace(".venv/bin/python", shlex.quote(sys.executable))


def kubernetes() -> str:
    """The container's command for each of the pods."""
    (command,) = re.findall(r"- exec (.*?)\n +resources", block(SECTIONS["Kubernetes"], "yaml"), re.DOTALL)
    return f"for JOB_COMPLETION_INDEX in 0 1; do {' '.join(command.split())} & done; wait"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A home with the program in it, and the environment of a shell there."""
    home = tmp_path_factory.mktemp("home")
    (home / "jax_vtm").symlink_to(ROOT)
    (home / "bin").mkdir()
    for name, script in {"ssh": SSH, "srun": SRUN}.items():
        (home / "bin" / name).write_text(script)
        (home / "bin" / name).chmod(0o755)
    write_videos(home / "videos", 9)
    flags = [word for word in os.environ["XLA_FLAGS"].split() if "device_count" not in word]
    environment = {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": " ".join(flags),
        "JAX_COORDINATOR_PORT": str(free_port()),
    }
    return home, write_config(home, home / "videos"), {**os.environ, **environment}


def test_the_run_that_stands_for_all_is_one():
    (words,) = re.findall(r'^export RUN="(.*)"$', block(PAGE.partition("## ")[0], "bash").replace("\\\n", ""))
    command, config, workdir = cli.parse(["main.py", *words.split()], ROOT / "configs" / "moving_digits.py")
    assert (command, config.name, workdir) == ("evaluate", "vivit_b_16x2_k400", pathlib.Path("/shared/runs/k400"))


@pytest.mark.parametrize(
    ("name", "processes"),
    [("Several machines by SSH", 2), ("Slurm", 2), ("Kubernetes", 2), ("One machine with several GPUs", 1)],
)
def test_its_commands_run_here(machine, name, processes):
    home, config, environment = machine
    code = here(kubernetes() if name == "Kubernetes" else block(SECTIONS[name], "bash"))
    workdir = home / "runs" / name.split()[0]
    cwd = home if "cd jax_vtm" in code else ROOT
    done = subprocess.run(
        ["bash", "-c", code],
        cwd=cwd,
        env={**environment, "RUN": f"--config={config} --workdir={workdir}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((workdir / "results.json").read_text())
    assert (results["dataset"]["n_ok"], results["environment"]["num_processes"]) == (9, processes)
    assert len(list((workdir / "journal").glob("*.bin"))) == processes
    assert len(np.load(workdir / "predictions.npz")["ids"]) == 9


def test_what_kinetics_takes_is_what_its_formulas_give():
    text = SECTIONS["What Kinetics-400 takes"].replace("\n", " ")
    clips = 19881 * 12
    assert f"{clips:,} clips" in text
    for r, gflop in ((0, 903.0), (300, 358.3)):
        model = jax_vtm.create_model("vivit_b_16x2", num_classes=400, reduction=jax_vtm.Reduction(r=r))
        assert 2e-9 * model.macs.total == pytest.approx(gflop, rel=0.002)
        assert f"{gflop} " in text
    speeds = {"v5e": (4, (65, 218, 181, 550)), "H200": (8, (340, 875, 951, 2205))}
    kind = ""
    rows = 0
    for row in re.findall(r"^\| (.*) \|$", SECTIONS["What Kinetics-400 takes"], re.MULTILINE)[2:]:
        name, hosts, *minutes = [cell.strip() for cell in row.split("|")]
        kind = name.split(",")[0] or kind
        chips, rates = speeds[kind]
        expected = [clips / (int(hosts) * chips * rate) / 60 for rate in rates]
        assert minutes == [f"{value:.1f}" for value in expected]
        rows += 1
    assert rows == 4
    decoding = 19881 * 4 / 12 / 60
    assert f"{decoding:.0f} minutes of one core: {decoding / 32:.1f} minutes on one host with 32 cores" in text
    assert f"{decoding / 128:.1f} minutes on four" in text
    for chips, rates in speeds.values():
        for slow, fast in (rates[:2], rates[2:]):
            cores = [-(-chips * rate // 36) for rate in (slow, fast)]
            assert f"{cores[0]} to {cores[1]}" in text
