"""The commands of docs/pods.md, as far as they run on one machine without accelerators, and its arithmetic."""

import io
import json
import os
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest
from jobs import Job, free_port
from tiny_evaluation import write_config, write_videos

import jax_vtm
from jax_vtm import cli

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pods.md").read_text()
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

# In place of programs of other machines; srun tells two tasks on one node what Slurm does.
PROGRAMS = {
    "ssh": 'shift\nexec bash -c "$*"',
    # Of what all workers of a slice run, the program.
    "gcloud": 'for word; do case $word in --command=*main.py*) exec bash -c "${word#--command=}"; esac; done',
    "srun": """while [[ $1 == -* ]]; do shift; done
export SLURM_JOB_ID=7 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
for k in 0 1; do SLURM_PROCID=$k SLURM_LOCALID=$k "$@" & done
wait""",
    # Notes what it is called with, and with which of Slurm's variables.
    "python": 'for word in "${@:2}"; do echo "$word"; done > $CALLS/$$\nenv | grep ^SLURM_ > $CALLS/$$.env || true',
}


def block(text: str, language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]


def kubernetes() -> str:
    """The container's command for each of the pods."""
    (command,) = re.findall(r"- exec (.*?)\n +resources", block(SECTIONS["Kubernetes"], "yaml"), re.DOTALL)
    return f"for JOB_COMPLETION_INDEX in 0 1; do {' '.join(command.split())} & done; wait"


def calls(code: str, home: pathlib.Path, words: str) -> list[tuple[list[str], dict[str, str]]]:
    """Runs a script of the page here, and returns what it calls main.py with, and which variables it sets."""
    for host in ("host-a:8476", "vtm-0.vtm:8476"):
        code = code.replace(host, f"localhost:{free_port()}")
    bin_, noted = home / "bin", home / "calls"
    for folder in (bin_, noted, home / "jax_vtm"):
        folder.mkdir(exist_ok=True)
    for name, script in PROGRAMS.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{script}\n")
        (bin_ / name).chmod(0o755)
    code = code.replace(".venv/bin/python", shlex.quote(str(bin_ / "python")))
    environment = {"HOME": str(home), "PATH": f"{bin_}:{os.environ['PATH']}", "CALLS": str(noted), "RUN": words}
    subprocess.run(["bash", "-c", code], cwd=home, env={**os.environ, **environment}, check=True, timeout=60)
    found = []
    for path in sorted(noted.glob("*.env")):
        variables = dict(line.split("=", 1) for line in path.read_text().splitlines())
        found.append((path.with_suffix("").read_text().splitlines(), variables))
    return found


def test_the_run_that_stands_for_all_is_one(storage):
    (words,) = re.findall(r'^export RUN="(.*)"$', block(PAGE.partition("## ")[0], "bash").replace("\\\n", ""), re.M)
    words = words.replace("$BUCKET", str(storage.folder))
    command, config, workdir = cli.parse(["main.py", *words.split()], ROOT / "configs" / "moving_digits.py")
    assert (command, config.name, workdir) == ("evaluate", "vivit_b_16x2_k400", storage.folder / "runs" / "k400")


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("Several machines by SSH", 2),
        ("Slurm", 2),
        ("Kubernetes", 2),
        ("One machine with several GPUs", 1),
        ("A TPU slice", 1),
    ],
)
def test_its_commands_run_here(tmp_path, storage, name, processes):
    write_videos(tmp_path / "videos", 3)
    config, workdir = write_config(tmp_path, tmp_path / "videos"), storage.folder / "out"
    code = kubernetes() if name == "Kubernetes" else block(SECTIONS[name], "bash")
    given = calls(code, tmp_path, f"--config={config} --workdir={workdir}")
    assert len(given) == processes
    job, port = Job(config, workdir), str(free_port())
    for words, variables in given:
        assert (name == "Slurm") == bool(variables)
        job.start_process(["main.py", *words], {**variables, "JAX_COORDINATOR_PORT": port})
    assert job.wait() == [0] * processes, job.said(0)
    results = json.loads((workdir / "results.json").read_text())
    assert (results["dataset"]["n_ok"], results["environment"]["num_processes"]) == (3, processes)
    assert len(np.load(io.BytesIO((workdir / "predictions.npz").read_bytes()))["ids"]) == 3


def test_what_kinetics_takes_is_what_its_formulas_give():
    text = SECTIONS["What Kinetics-400 takes"].replace("\n", " ")
    clips = 19881 * 12
    assert f"{clips:,} clips" in text
    for r, gflop in ((0, 903.0), (300, 358.3)):
        model = jax_vtm.create_model("vivit_b_16x2", num_classes=400, reduction=jax_vtm.Reduction(r=r))
        assert 2e-9 * model.macs.total == pytest.approx(gflop, rel=0.002)
        assert f"{gflop} " in text
    speeds = {"v5e": (4, (65, 218, 181, 550)), "H200": (8, (340, 875, 951, 2205))}
    rows = re.findall(r"^\| `vivit_b_16x2` \| (?:0|300) .*$", BENCHMARKS.partition("| after |")[2], re.MULTILINE)
    milliseconds = [row.split("|")[11].strip() for row in rows[:2]]
    estimated = [8 / float(ms) * 1000 for ms in milliseconds]
    assert f"estimates {' and '.join(milliseconds)} ms for 8 clips" in text
    assert f"{estimated[0]:.0f} and {estimated[1]:.0f} clips/s. In" in text
    kind, count = "", 0
    for row in re.findall(r"^\| (.*) \|$", SECTIONS["What Kinetics-400 takes"], re.MULTILINE)[2:]:
        name, hosts, *minutes = [cell.strip() for cell in row.split("|")]
        kind = name.split(",")[0] or kind
        chips, rates = speeds[kind]
        expected = [f"{clips / (int(hosts) * chips * rate) / 60:.1f}" for rate in rates]
        compiled = [f"{clips / (int(hosts) * chips * rate) / 60:.1f}" if kind == "v5e" else "" for rate in estimated]
        assert minutes == [*expected[:2], compiled[0], *expected[2:], compiled[1]]
        count += 1
    assert count == 4
    decoding = 19881 * 4 / 12 / 60
    assert f"{decoding:.0f} minutes of one core: {decoding / 32:.1f} minutes on one host with 32 cores" in text
    assert f"{decoding / 128:.1f} minutes on four" in text
    for chips, rates in speeds.values():
        for slow, fast in (rates[:2], rates[2:]):
            cores = [-(-chips * rate // 36) for rate in (slow, fast)]
            assert f"{cores[0]} to {cores[1]}" in text
