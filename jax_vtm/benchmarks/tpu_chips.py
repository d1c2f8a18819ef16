"""What TPUs can do, and devices of theirs to compile for where there is none."""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from jax_vtm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """The published rates of what JAX counts as one device: a chip, or of v4 one of its two cores.

    Attributes:
        flop_per_s: Of bfloat16 products.
        bytes_per_s: To and from HBM.
        cycles_per_s: What the compiler's cycles are cycles of: `flop_per_s` over two operations of every cell of the
            matrix units.
        side: Of a matrix unit.
        cores: Of the device.
    """

    flop_per_s: float
    bytes_per_s: float
    cycles_per_s: float
    side: int = 128
    cores: int = 1


# https://cloud.google.com/tpu/docs/v4, v5e, v5p and v6e: peak compute and HBM bandwidth per chip. A core of the first
# three has four matrix units of 128 x 128, which gives the cycles per second. Of v6e the compiler's estimate of a large
# copy says as much.
CHIPS = {
    "v4": Chip(137.5e12, 614e9, 1.05e9),
    "v5e": Chip(197e12, 819e9, 1.5e9),
    "v5p": Chip(459e12, 2765e9, 1.75e9, cores=2),
    "v6e": Chip(918e12, 1640e9, 1.75e9, side=256),
}


def tpu_devices(topology: str) -> Sequence[Any]:
    """Returns the devices of a topology such as v5e:2x2, for which programs can be compiled but not run.

    Raises:
        UserError: libtpu is not installed, or does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f'compiling for {topology!r} needs libtpu, which is not installed. Run: pip install "jax_vtm[tpu]"'
        )
    # No TPU is looked for, nor a server asked for one; and another process may have one.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    try:
        if topology.partition(":")[0] not in CHIPS:
            raise ValueError(f"known chips are {', '.join(CHIPS)}")
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise UserError(
            f"topology is {topology!r}: {error}. Expected one such as v5e:2x2, v5e:4x4, v4:2x2x1, v5p:2x2x1 or v6e:2x4."
        ) from error
