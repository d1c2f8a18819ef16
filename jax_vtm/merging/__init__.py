"""Which tokens become one: static schedules, matching, reduction, unmerging, membership.

Knows nothing of models, files or devices. Everything is a pure function of arrays except `TokenReduction`, the Flax
module that models call.
"""

from jax_vtm.merging.choice import MATCHINGS, MERGINGS, choose_matching, choose_merging
from jax_vtm.merging.matching import (
    Matching,
    bipartite_soft_matching,
    kth_bipartite_matching,
    match_nearest,
    random_bipartite_matching,
)
from jax_vtm.merging.membership import compose, initial_membership, membership_of, source_matrix
from jax_vtm.merging.module import TokenReduction, TokenState, initial_state
from jax_vtm.merging.nearest import Nearest, nearest_by_metric, nearest_by_scores
from jax_vtm.merging.reduce import drop, emptied_survivors, merge, merge_weighted, unmerge
from jax_vtm.merging.reduction import Reduction, no_reduction
from jax_vtm.merging.schedule import clamp_r, expand_r, plan
from jax_vtm.merging.scores import cosine_scores, metric_from_keys, uniform_scores

__all__ = [
    "MATCHINGS",
    "MERGINGS",
    "Matching",
    "Nearest",
    "Reduction",
    "TokenReduction",
    "TokenState",
    "bipartite_soft_matching",
    "choose_matching",
    "choose_merging",
    "clamp_r",
    "compose",
    "cosine_scores",
    "drop",
    "emptied_survivors",
    "expand_r",
    "initial_membership",
    "initial_state",
    "kth_bipartite_matching",
    "match_nearest",
    "membership_of",
    "merge",
    "merge_weighted",
    "metric_from_keys",
    "nearest_by_metric",
    "nearest_by_scores",
    "no_reduction",
    "plan",
    "random_bipartite_matching",
    "source_matrix",
    "uniform_scores",
    "unmerge",
]
