"""How fast models are: programs compiled ahead, timed side by side in rounds, and the arithmetic of the outcome."""

from jax_vtm.benchmarking.levels import LEVELS, model_alone, with_decoding, with_transfer
from jax_vtm.benchmarking.peaks import Peak, copy, matrix_product
from jax_vtm.benchmarking.program import Program, compiled
from jax_vtm.benchmarking.rounds import Measured, interleaved, repeats_for, timed
from jax_vtm.benchmarking.sliced import keeping_the_first
from jax_vtm.benchmarking.summary import (
    Spread,
    mac_ratio,
    percent_of_mac_ratio,
    share_of_peak,
    speed_up,
    spread,
    time_share,
)
from jax_vtm.benchmarking.weights import random_params

__all__ = [
    "LEVELS",
    "Measured",
    "Peak",
    "Program",
    "Spread",
    "compiled",
    "copy",
    "interleaved",
    "keeping_the_first",
    "mac_ratio",
    "matrix_product",
    "model_alone",
    "percent_of_mac_ratio",
    "random_params",
    "repeats_for",
    "share_of_peak",
    "speed_up",
    "spread",
    "time_share",
    "timed",
    "with_decoding",
    "with_transfer",
]
