"""Which kind of model a set of names belongs to: paths of our parameters, or tensors of a published file."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Paths that only this kind of model has.
_TREES = (
    ("TimeSformer", re.compile(r"/temporal_projection/kernel$")),
    ("Motionformer", re.compile(r"/trajectory_query/kernel$")),
    ("VideoMAE", re.compile(r"^pooled_norm/scale$")),
    ("the factorised encoder", re.compile(r"^SpatialTransformer/")),
    ("the unfactorised ViViT", re.compile(r"^Transformer/")),
)
# Tensors that only these files have, among the files that come before and after; those of no use here have a name too,
# so that an error can say what they are.
_FILES = (
    ("the unfactorised ViViT", re.compile(r"^vivit\.")),
    ("Hugging Face's TimeSformer (here the authors' own are read)", re.compile(r"^timesformer\.")),
    (
        "VideoMAE's pre-training, which have no classifier (here the fine-tuned ones are read)",
        re.compile(r"mask_token$"),
    ),
    ("VideoMAE", re.compile(r"\.attn\.q_bias$|^videomae\.")),
    ("TimeSformer", re.compile(r"\.temporal_fc\.weight$")),
    ("Motionformer", re.compile(r"\.attn\.proj_kv\.weight$")),
    ("Motionformer with divided attention (here it is trajectory attention)", re.compile(r"\.timeattn\.")),
    ("Motionformer with joint attention (here it is trajectory attention)", re.compile(r"patch_embed_3d\.")),
)


def family_of_tree(paths: Iterable[str]) -> str | None:
    """Names the kind of model that has these parameters, levels joined by `/`; None if it cannot be told."""
    return _first(_TREES, paths)


def family_of_file(tensors: Iterable[str]) -> str | None:
    """Names the kind of model whose published files have these tensors; None if it cannot be told.

    Where our model of that kind reads such files, the name is that of `family_of_tree`.
    """
    return _first(_FILES, tensors)


def _first(families: Iterable[tuple[str, re.Pattern[str]]], names: Iterable[str]) -> str | None:
    names = list(names)
    return next((family for family, mark in families if any(map(mark.search, names))), None)
