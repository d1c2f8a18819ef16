"""`python main.py benchmark_scaling`: what spreading a step over devices costs by itself, on simulated CPU devices.

One model looks at a single token, so that a step is little else than handing arrays to devices and adding counts up.
Another, a small ViViT that merges, shows the same where there is something to do. All simulated devices share the
machine's cores: with more of them nothing becomes faster than the cores are.
"""

import json
import os
import pathlib
import subprocess
import sys

from jax_vtm.commands.cli import SUCCESS
from jax_vtm.commands.defaults import Config
from jax_vtm.errors import UserError

DEVICES = (1, 2, 4, 8)
BACKENDS = ("pmap", "shard_map")
STEPS = 200
SECONDS = 600


def run(config: Config, workdir: pathlib.Path) -> int:
    """Measures every number of devices and backend in a process of its own, prints a table and writes it.

    Returns:
        The exit code.
    """
    rows = []
    print("devices  backend    empty step, ms  with everything around it, ms  ViViT step, ms  ViViT, clips/s")
    for devices in DEVICES:
        for backend in BACKENDS:
            row = _measured(devices, backend)
            rows.append(row)
            print(
                f"{devices:7}  {backend:9}  {row['empty_step_ms']:14.2f}  {row['empty_batch_ms']:29.2f}  "
                f"{row['vivit_step_ms']:14.2f}  {row['vivit_clips_per_s']:14.0f}",
                flush=True,
            )
    workdir.mkdir(parents=True, exist_ok=True)
    outcome = {"steps": STEPS, "cores": os.cpu_count(), "rows": rows}
    (workdir / "benchmark_scaling.json").write_text(json.dumps(outcome, indent=2) + "\n")
    return SUCCESS


def _measured(devices: int, backend: str) -> dict:
    # How many devices a CPU pretends to be is settled when JAX starts; with fewer threads than devices they would
    # wait for each other for ever.
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "NPROC": str(2 * max(DEVICES)),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-m", "jax_vtm.commands.scaling_worker", backend, str(STEPS)]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    if outcome.returncode != 0:
        raise UserError(f"measuring {devices} devices with {backend} failed:\n{outcome.stderr[-2000:]}")
    return {"devices": devices, "backend": backend, **json.loads(outcome.stdout.splitlines()[-1])}
