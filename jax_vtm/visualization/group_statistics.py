"""Statistics of a clip's token groups: sizes, time steps, discarded patches."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int, Int64

from jax_vtm.merging.merge import DISCARDED
from jax_vtm.merging.shapes import check_shapes


@dataclasses.dataclass(frozen=True)
class GroupStatistics:
    """Counts of one clip after one layer. A group is a token of at least one patch.

    Attributes:
        sizes: Patches of each group, by ascending group number.
        spans: Time steps of the token grid in which each group has patches.
        tokens_per_step: Tokens of each time step; a token counts by the share of its patches there.
        groups_per_step: Groups with a patch in each time step.
        mean_size_per_step: Mean group size over the patches of each time step; NaN if all are discarded.
        discarded_per_step: Discarded patches of each time step.
    """

    sizes: Int64[np.ndarray, " G"]
    spans: Int64[np.ndarray, " G"]
    tokens_per_step: Float64[np.ndarray, " t"]
    groups_per_step: Int64[np.ndarray, " t"]
    mean_size_per_step: Float64[np.ndarray, " t"]
    discarded_per_step: Int64[np.ndarray, " t"]

    @property
    def discarded(self) -> int:
        """Number of discarded patches."""
        return int(self.discarded_per_step.sum())

    @property
    def in_several_steps(self) -> int:
        """Number of groups with patches in several time steps."""
        return int((self.spans > 1).sum())


def group_statistics(membership: Int[np.ndarray, "t h w"]) -> GroupStatistics:
    """Counts the groups of a clip; `membership` is the group of every patch, -1 if discarded."""
    check_shapes(membership=(membership, "t h w"))
    num_steps = len(membership)
    flat = membership.reshape(num_steps, -1).astype(np.int64)
    kept = flat != DISCARDED
    _, group = np.unique(flat[kept], return_inverse=True)
    step = np.broadcast_to(np.arange(num_steps)[:, None], flat.shape)[kept]
    num_groups = int(group.max()) + 1 if len(group) else 0

    # Only the pairs of group and step that occur: [G, t] would be large.
    pairs, patches = np.unique(group * num_steps + step, return_counts=True)
    group_of_pair, step_of_pair = pairs // num_steps, pairs % num_steps
    sizes = np.bincount(group, minlength=num_groups)
    kept_per_step = kept.sum(axis=1)
    size_sums = np.bincount(step, sizes[group], minlength=num_steps)
    return GroupStatistics(
        sizes=sizes,
        spans=np.bincount(group_of_pair, minlength=num_groups),
        tokens_per_step=np.bincount(step_of_pair, patches / sizes[group_of_pair], minlength=num_steps),
        groups_per_step=np.bincount(step_of_pair, minlength=num_steps),
        mean_size_per_step=np.where(kept_per_step > 0, size_sums / np.maximum(kept_per_step, 1), np.nan),
        discarded_per_step=(~kept).sum(axis=1),
    )
