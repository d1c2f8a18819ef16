"""What Pallas kernels have to do, by arithmetic on their traced programs: the compiler gives no estimate of a kernel.

A kernel takes at least as long as the longest of its products, its elementwise operations, its exponentials and its
bytes, each at the rate of its own unit. What it really takes is more, for nothing overlaps completely.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jax.extend.core import jaxprs_in_params

from jax_vtm.benchmarks.tpu_chips import Chip

# How often a product of float32 goes through the matrix unit, which multiplies bfloat16.
_PASSES = {"HIGHEST": 6, "HIGH": 3}
_EXPONENTIALS = {"exp", "exp2", "log", "log1p", "logistic", "tanh", "erf", "rsqrt", "sqrt", "div"}
_FREE = {"get", "swap", "broadcast_in_dim", "reshape", "squeeze", "program_id", "slice", "iota", "transpose", "tile"}
# Numbers on which a core computes at once, and in how many units.
_VECTOR, _VECTOR_UNITS = 8 * 128, 4

Work = Counter
"""Products (multiply-accumulates, sides that do not fill the matrix unit counted as if they did), results of
elementwise operations, results of the unit for exponentials, roots and quotients, and bytes of blocks, as often as they
are fetched or written."""


def kernel_cycles(program: Any, chip: Chip) -> dict[str, int]:
    """Returns the least cycles of all kernels of a traced program, by the path of modules in which they stand."""
    rates = {
        "products": chip.flop_per_s / 2 / chip.cycles_per_s,
        "elementwise": chip.cores * _VECTOR_UNITS * _VECTOR,
        "exponentials": chip.cores * _VECTOR,
        "bytes": chip.bytes_per_s / chip.cycles_per_s,
    }
    cycles: Counter[str] = Counter()
    for path, work in kernels(program, chip.side):
        cycles[path] += math.ceil(max(work[key] / rate for key, rate in rates.items()))
    return cycles


def kernels(program: Any, side: int, times: int = 1, path: str = "") -> Iterator[tuple[str, Work]]:
    """Yields the path and the work of every kernel of a jaxpr; a matrix unit has so many rows and columns."""
    for eqn in getattr(program, "jaxpr", program).eqns:
        inner_path = f"{path}/{eqn.source_info.name_stack}"
        if eqn.primitive.name == "pallas_call":
            mapping = eqn.params["grid_mapping"]
            num_bytes = sum(_fetched(block, mapping.grid) for block in mapping.block_mappings)
            work = _work(eqn.params["jaxpr"], side, math.prod(mapping.grid)) + Work(bytes=num_bytes)
            yield inner_path, _times(work, times)
        else:
            for inner in jaxprs_in_params(eqn.params):
                yield from kernels(inner, side, times * eqn.params.get("length", 1), inner_path)


def _fetched(block: Any, grid: tuple[int, ...]) -> int:
    """Bytes of a block, as often as it changes: whenever a grid's axis moves that its place depends on, or one before.

    The last axis of a grid moves fastest.
    """
    index_map = block.index_map_jaxpr.jaxpr
    used = {id(one) for one in (*index_map.outvars, *(given for eqn in index_map.eqns for given in eqn.invars))}
    axes = [axis for axis, size in enumerate(grid) if size > 1 and id(index_map.invars[axis]) in used]
    times = math.prod(grid[: axes[-1] + 1]) if axes else 1
    return times * math.prod(block.block_aval.shape) * block.block_aval.dtype.itemsize


def _times(work: Work, times: int) -> Work:
    return Work({key: times * count for key, count in work.items()})


def _work(program: Any, side: int, times: int = 1) -> Work:
    total = Work()
    for eqn in getattr(program, "jaxpr", program).eqns:
        total += _of_one(eqn, side)
    return _times(total, times)


def _of_one(eqn: Any, side: int) -> Work:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        return Work(products=_products(eqn, side))
    if name == "cond":
        return max((_work(branch, side) for branch in params["branches"]), key=lambda work: work.total())
    if name == "while":
        raise ValueError("a kernel's loop does not say how often it runs")
    if inner := list(jaxprs_in_params(params)):
        return _work(inner[0], side, params.get("length", 1))
    if name in _FREE:
        return Work()
    touched = eqn.invars if name.startswith(("reduce_", "arg")) else eqn.outvars
    count = sum(math.prod(getattr(one.aval, "shape", ())) for one in touched)
    return Work({"exponentials" if name in _EXPONENTIALS else "elementwise": count})


def _products(eqn: Any, side: int) -> int:
    left, right = (one.aval for one in eqn.invars)
    (left_summed, _), (left_batch, _) = eqn.params["dimension_numbers"]
    summed, batch = (math.prod(left.shape[axis] for axis in axes) for axes in (left_summed, left_batch))
    rows, columns = left.size // (summed * batch), right.size // (summed * batch)
    filled = math.prod(math.ceil(length / side) * side for length in (summed, columns))
    precision = str((eqn.params["precision"] or ("",))[0])
    passes = next((times for word, times in _PASSES.items() if precision.endswith(word)), 1)
    return batch * rows * filled * (passes if left.dtype == "float32" else 1)
