"""`python main.py benchmark_scaling`: what spreading over devices and processes costs by itself, on simulated devices.

One model looks at a single token, so that a step is little else than handing arrays to devices and adding counts up.
Another, a small ViViT that merges, shows the same where there is something to do. All simulated devices share the
machine's cores: with more of them nothing becomes faster than the cores are. Processes have a device each and do not
wait for each other until they are done; what they then cost is to bring their predictions together.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from typing import Any

from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.files import write_text

DEVICES = (1, 2, 4, 8)
PROCESSES = (2, 4, 8)
BACKENDS = ("pmap", "shard_map")
STEPS = 200
SECONDS = 600


def run(config: Config, workdir: pathlib.Path) -> int:
    """Measures every number of devices and processes in processes of their own, prints a table and writes it.

    Returns:
        The exit code.
    """
    settings = [(1, devices, backend) for devices in DEVICES for backend in BACKENDS]
    settings += [(processes, 1, "pmap") for processes in PROCESSES]
    rows = []
    print("processes x devices  backend    empty step  and around it  ViViT step  together  (ms)    ViViT, clips/s")
    for processes, devices, backend in settings:
        row = _measured(processes, devices, backend)
        rows.append(row)
        print(
            f"{processes:9} x {devices:7}  {backend:9}  {row['empty_step_ms']:10.2f}  {row['empty_batch_ms']:13.2f}  "
            f"{row['vivit_step_ms']:10.2f}  {row['together_ms']:8.1f}  {row['vivit_clips_per_s']:22.0f}",
            flush=True,
        )
    outcome = {"steps": STEPS, "cores": os.cpu_count(), "rows": rows}
    write_text(workdir / "benchmark_scaling.json", json.dumps(outcome, indent=2) + "\n")
    return SUCCESS


def _measured(processes: int, devices: int, backend: str) -> dict[str, Any]:
    # How many devices a CPU pretends to be is settled when JAX starts; with fewer threads than devices they would
    # wait for each other for ever.
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "NPROC": str(2 * max(DEVICES)),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    worker = [sys.executable, "-m", "jax_vtm.benchmarks.scaling_worker", backend, str(STEPS)]
    coordinator = f"localhost:{_free_port()}"
    with tempfile.TemporaryDirectory() as folder:
        said = [pathlib.Path(folder) / f"{index}.txt" for index in range(processes)]
        running = []
        for index, path in enumerate(said):
            command = [*worker, coordinator, str(processes), str(index)]
            with path.open("w") as file:
                running.append(subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT))
        try:
            codes = [process.wait(SECONDS) for process in running]
        finally:
            for process in running:
                process.kill()
        if any(codes):
            text = next(path for path, code in zip(said, codes, strict=True) if code).read_text()
            raise UserError(
                f"measuring {processes} processes of {devices} devices with {backend} failed:\n{text[-2000:]}"
            )
        measured = next(line for line in said[0].read_text().splitlines() if line.startswith("{"))
    return {"processes": processes, "devices": devices, "backend": backend, **json.loads(measured)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
