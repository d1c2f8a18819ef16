"""Scaled dot-product attention with a bias per key: one file per way of computing it, one function that chooses."""

from jax_vtm.models.attention.attend import (
    BACKENDS,
    attend,
    attend_along_trajectories,
    attend_over_frames,
    choose_along_trajectories,
    choose_backend,
    choose_over_frames,
)

__all__ = [
    "BACKENDS",
    "attend",
    "attend_along_trajectories",
    "attend_over_frames",
    "choose_along_trajectories",
    "choose_backend",
    "choose_over_frames",
]
