"""What XLA and NVIDIA's assembler make of a program for a card that is not there; they estimate no times.

Needs the packages of `jax[cuda12]`, 5.5 GB. Nothing can be tuned without the card, so products are left to cuBLAS.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jax.experimental import topologies

from jax_vtm.errors import UserError

# Name, bytes per second and bytes of memory. https://github.com/openxla/xla, xla/backends/gpu/target_config/specs, has
# these numbers and those below.
CARDS = {
    "h100": ("NVIDIA H100 80GB HBM3", 3352320000000, 84942979072),
    "h200": ("NVIDIA H200 141GB HBM3e", 4800000000000, 151397597184),
}
_TARGET = """
gpu_device_info {{
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 memory_bandwidth: {1} device_memory_size: {2}
  l2_cache_size: 52428800 shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 device_address_bits: 64
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{0}"
"""
_ASSEMBLED = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.DOTALL
)
_STARTED = re.compile(r"(\w+) +grid:.*shared_memory: (\d+) bytes")


def gpu_devices(card: str) -> Sequence[Any]:
    """Returns one device like a card, for which programs can be compiled but not run.

    Raises:
        UserError: The packages are not installed.
    """
    if importlib.util.find_spec("jax_plugins.xla_cuda12") is None:
        raise UserError(
            f'compiling for {card!r} needs packages that are not installed. Run: pip install "jax_vtm[cuda]"'
        )
    # JAX would look for a driver.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    return topologies.get_topology_desc(
        "", "cuda", topology="1x1x1", target_config=_TARGET.format(*CARDS[card])
    ).devices


def gpu_options(folder: str) -> dict[str, Any]:
    """Returns options of a compiler that leaves its kernels in a folder."""
    return {"xla_gpu_enable_triton_gemm": False, "xla_gpu_autotune_level": 0, "xla_dump_to": folder}


def gpu_account(text: str, folder: str) -> dict[str, Any]:
    """Says what a compiled program calls, and what its kernels need.

    Args:
        text: What `compiled.as_text()` returns.
        folder: Of `gpu_options`.
    """
    import nvidia.cuda_nvcc  # pyright: ignore[reportMissingImports]

    assembler = pathlib.Path(nvidia.cuda_nvcc.__path__[0]) / "bin" / "ptxas"
    registers, spilled = {}, {}
    for path in pathlib.Path(folder).glob("*.ptx"):
        # A module without kernels leaves an empty file.
        if not path.stat().st_size:
            continue
        command = [str(assembler), "-v", "-arch=sm_90a", str(path), "-o", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        for name, stores, loads, count in _ASSEMBLED.findall(said):
            registers[name], spilled[name] = int(count), int(stores) + int(loads)
    (schedule,) = pathlib.Path(folder).glob("*.thunk_sequence.txt")
    return {
        "calls": dict(Counter(re.findall(r'custom_call_target="([^"]+)"', text))),
        "kernels": len(registers),
        "most_registers": max(registers.values()),
        "most_shared_bytes": max(int(size) for _, size in _STARTED.findall(schedule.read_text())),
        "spilled_bytes": {name: size for name, size in spilled.items() if size},
        "loops": len(re.findall(r" while\(", text)),
        "scatters": len(re.findall(r" scatter\(", text)),
    }
