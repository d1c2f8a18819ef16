"""Counts the matrix products in a traced program, however large, without compiling or running it."""

import jax
import numpy as np


def counted_macs(function, *shapes) -> int:
    """Multiply-accumulates of all products and convolutions, those in loops as often as they are done."""
    return _macs(jax.make_jaxpr(function)(*shapes).jaxpr)


def _macs(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            depth = np.prod([equation.invars[0].aval.shape[axis] for axis in contracted], dtype=np.int64)
            total += int(np.prod(equation.outvars[0].aval.shape, dtype=np.int64) * depth)
        elif name == "conv_general_dilated":
            # Each output sums over one input channel group's patch.
            kernel, numbers = equation.invars[1].aval.shape, params["dimension_numbers"]
            per_output = np.prod(kernel, dtype=np.int64) // kernel[numbers.rhs_spec[0]]
            total += int(np.prod(equation.outvars[0].aval.shape, dtype=np.int64) * per_output)
        else:
            inner = sum(_macs(part) for value in params.values() for part in _jaxprs(value))
            if inner and name in ("while", "cond"):
                raise AssertionError(f"products in a {name}: how often they are done cannot be seen")
            total += inner * (params["length"] if name == "scan" else 1)
    return total


def _jaxprs(value):
    for part in value if isinstance(value, (tuple, list)) else (value,):
        if hasattr(part, "jaxpr"):
            yield part.jaxpr
        elif hasattr(part, "eqns"):
            yield part
