"""What a benchmark ran on."""

import datetime
import os
import pathlib
import platform
from typing import Any

import flax
import jax

import jax_vtm

# What changes how fast programs are.
VARIABLES = ("XLA_FLAGS", "OMP_NUM_THREADS", "NPROC", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_PYTHON_CLIENT_PREALLOCATE")


def environment() -> dict[str, Any]:
    """Says machine, device, versions and settings of the environment."""
    device = jax.local_devices()[0]
    return {
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "processor": _processor(),
        "cores": num_cores(),
        "platform": device.platform,
        "device_kind": device.device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "jax_vtm": jax_vtm.__version__,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name; Linux has it in a file."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
