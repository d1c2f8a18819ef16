"""No recorded case of matching and merging is left out."""

import json
from collections import Counter

import recorded_cases
import test_matching
import test_merge

MANIFEST = json.loads((recorded_cases.TORCH / "manifest.json").read_text())["merge_ops"]
# Written down here, so that a case that went missing from the manifest would be missed.
COUNTS = {
    "bipartite_soft_matching": 47,
    "bipartite_soft_matching_hybrid": 9,
    "bipartite_soft_matching_drop": 9,
    "kth_bipartite_soft_matching": 5,
    "random_bipartite_soft_matching": 4,
    "two successive merge": 2,
    "two successive hybrid": 1,
}
# A note without arrays, on what the reference returns for r = 0; `test_dropping_nothing_returns_the_tokens` has ours.
NOTES = {"drop_r0_note"}


def test_every_case_runs():
    assert Counter(case["function"] for case in MANIFEST) == COUNTS
    assert sum(COUNTS.values()) == 77
    indices = [*test_matching.SOFT, *test_matching.KTH, *test_matching.RANDOM, *test_merge.CHAINS]
    contents = [*test_merge.SOFT, *test_merge.DROP, *test_matching.KTH, *test_matching.RANDOM, *test_merge.CHAINS]
    for run in (indices, contents):
        assert sorted([*(case["id"] for case in run), *NOTES]) == sorted(case["id"] for case in MANIFEST)
