"""One step for one device, spread over all: by `pmap`, or by `jit` of `shard_map`.

Both run the same function on every device and differ in who cuts the arrays. A `jit` that is left to partition token
merging by itself would gather whole batches for its sorts and gathers; neither of these two moves anything between
devices.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import jax_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_vtm.errors import UserError

AXIS = "batch"
BACKENDS = ("pmap", "shard_map")

DeviceStep = Callable[..., Any]
"""(parameters, *arrays [B, ...] of one device) -> tree of arrays [B, ...]"""


class DataParallel:
    """Puts arrays on devices, runs steps on them, and brings results back.

    Args:
        backend: One of `BACKENDS`.
        devices: Devices of this process; None takes all that it has.

    Attributes:
        steps_in_flight: Steps that the devices may have at a time.

    Raises:
        UserError: There is no such backend.
    """

    def __init__(self, backend: str = "pmap", devices: Sequence[Any] | None = None):
        if backend not in BACKENDS:
            raise UserError(f"backend is {backend!r}; known are {', '.join(BACKENDS)}.")
        self.backend = backend
        self.devices = tuple(devices or jax.local_devices())
        # On a CPU a second step would take the first one's cores.
        self.steps_in_flight = 1 if self.devices[0].platform == "cpu" else 2
        self._mesh = Mesh(np.array(self.devices), (AXIS,))

    def replicate(self, params: Any) -> Any:
        """Puts a copy of parameters on each device."""
        if self.backend == "pmap":
            return jax_utils.replicate(params, self.devices)
        return jax.device_put(params, NamedSharding(self._mesh, PartitionSpec()))

    def shard(self, tree: Any) -> Any:
        """Cuts arrays [B, ...] into one part per device and puts each part there.

        Raises:
            UserError: B does not divide over the devices.
        """
        count = len(self.devices)

        def put(leaf: np.ndarray) -> jax.Array:
            if len(leaf) % count:
                raise UserError(f"The batch of {len(leaf)} videos does not divide over {count} devices.")
            parts = leaf.reshape(count, -1, *leaf.shape[1:]) if self.backend == "pmap" else leaf
            return jax.device_put(parts, NamedSharding(self._mesh, PartitionSpec(AXIS)))

        return jax.tree.map(put, tree)

    def compiled(self, step: DeviceStep) -> "Program":
        """Returns the step for what `replicate` and `shard` return; the same step gives the same program."""
        return _compiled(step, self.backend, self.devices)

    def gather(self, leaf: jax.Array) -> np.ndarray:
        """Brings back what a step returned for every video: [B, ...]."""
        rows = np.asarray(leaf)
        return rows.reshape(-1, *rows.shape[2:]) if self.backend == "pmap" else rows


class Program:
    """A step on all devices, compiled once for each shape of its arguments.

    Args:
        jitted: What `jax.pmap` or `jax.jit` has made of it.
    """

    def __init__(self, jitted: Any):
        self.jitted = jitted
        self._compiled: dict[Any, DeviceStep] = {}

    def compiled_for(self, arguments: tuple[Any, ...]) -> DeviceStep:
        """Returns what runs it on these arguments and others like them; compiles it, but runs nothing."""
        leaves, structure = jax.tree.flatten(arguments)
        key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in self._compiled:
            self._compiled[key] = self.jitted.lower(*arguments).compile()
        return self._compiled[key]

    def __call__(self, *arguments: Any) -> Any:
        """Runs it."""
        return self.compiled_for(arguments)(*arguments)


@functools.cache
def _compiled(step: DeviceStep, backend: str, devices: tuple[Any, ...]) -> Program:
    if backend == "pmap":
        return Program(jax.pmap(step, axis_name=AXIS, devices=devices))
    cut, whole = PartitionSpec(AXIS), PartitionSpec()

    def spread(params, *arrays):
        specs = (whole, *(cut for _ in arrays))
        mesh = Mesh(np.array(devices), (AXIS,))
        return jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=cut, check_vma=False)(params, *arrays)

    return Program(jax.jit(spread))
