"""Predictions read from files, whoever wrote them, and matched video by video."""

from jax_vtm.evaluation.saved.list_file import ListedLabels, read_list
from jax_vtm.evaluation.saved.matching import Match, complete, match_heads, match_videos
from jax_vtm.evaluation.saved.predictions import Head, SavedPredictions
from jax_vtm.evaluation.saved.read import read_predictions

__all__ = [
    "Head",
    "ListedLabels",
    "Match",
    "SavedPredictions",
    "complete",
    "match_heads",
    "match_videos",
    "read_list",
    "read_predictions",
]
