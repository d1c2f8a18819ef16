"""Which tokens become one. Read `schedule`, `matching`, `merge` and `module`, in this order.

`backends` has the ways to compute a best match and a sum, `tome` what only ToMe's own interface has. Knows nothing of
models, files or devices: pure functions of arrays, and `TokenReduction`, the Flax module that models call.
"""

import pkgutil

from jax_vtm.merging.backends.best_match import (
    MATCHINGS,
    BestMatch,
    choose_matching,
    cosine_scores,
    nearest_by_metric,
    nearest_by_scores,
)
from jax_vtm.merging.backends.scatter_add import MERGINGS, choose_merging
from jax_vtm.merging.input_reduction import KeptPatches, keep_patches
from jax_vtm.merging.matching import Matching, match, match_by_importance, metric_from_keys, uniform_scores
from jax_vtm.merging.merge import (
    compose,
    drop,
    initial_membership,
    membership_of,
    merge_weighted,
    replaced_tokens,
    unmerge,
)
from jax_vtm.merging.module import TokenReduction, TokenState, initial_state
from jax_vtm.merging.schedule import InputReduction, Reduction, clamp_r, expand_r, no_reduction, plan
from jax_vtm.merging.tome import (
    bipartite_soft_matching,
    kth_bipartite_matching,
    merge,
    random_bipartite_matching,
    source_matrix,
)

__all__ = [
    "MATCHINGS",
    "MERGINGS",
    "BestMatch",
    "InputReduction",
    "KeptPatches",
    "Matching",
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
    "expand_r",
    "initial_membership",
    "initial_state",
    "keep_patches",
    "kth_bipartite_matching",
    "match",
    "match_by_importance",
    "membership_of",
    "merge",
    "merge_weighted",
    "metric_from_keys",
    "nearest_by_metric",
    "nearest_by_scores",
    "no_reduction",
    "plan",
    "random_bipartite_matching",
    "replaced_tokens",
    "source_matrix",
    "uniform_scores",
    "unmerge",
]

# Where functions are that others know by a name in this package.
_MOVED = {
    "emptied_survivors": "jax_vtm.merging.merge:replaced_tokens",
    "group_statistics": "jax_vtm.visualization.group_statistics:group_statistics",
    "match_nearest": "jax_vtm.merging.matching:match",
    "mixing": "jax_vtm.studies.mixing:mixing",
}


def __getattr__(name: str):
    if name not in _MOVED:
        raise AttributeError(f"module 'jax_vtm.merging' has no attribute {name!r}")
    return pkgutil.resolve_name(_MOVED[name])
