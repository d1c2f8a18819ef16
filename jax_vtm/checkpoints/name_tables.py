"""The names of parameters in the files of others, and which architecture a set of names belongs to.

`tensor_names.csv` has a row for each of our modules: the module's path, `*` for the number of its block; the name in
the file, `*` for the same number; and the transform. A row of a single parameter has its whole path.

ViViT: Hugging Face's `VivitForVideoClassification`; it has the unfactorised model with a class token only.
TimeSformer, Motionformer, VideoMAE: the authors' released files, and Hugging Face's of the first and the last. The
weights are the same under both names. VideoMAE's were trained with 1e-6 in every layer normalisation, which is what the
model here computes; Hugging Face's class has 1e-12 and, in `fc_norm`, 1e-5, so that its logits differ from the authors'
and from ours in late digits.
"""

import csv
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from jax_vtm.checkpoints.transforms import TRANSFORMS, Transform


@dataclasses.dataclass(frozen=True)
class Table:
    """The names of one kind of file."""

    file: str  # of its rows in `tensor_names.csv`
    architecture: str  # whose parameters they are, as `architecture_of_tree` says it
    mark: str  # what only names of these files match
    head: Callable[[str], str | None]  # the module of the head of that name; None if the files have no such head
    without: str  # what to say of parameters that the files do not have
    leftovers: frozenset[str] = frozenset()  # tensors that the files have and the model has no use for
    zero_biases: str = ""  # biases of keys: they change no attention, but the keys that merging compares; taken if zero
    sinusoid: str = ""  # a table of positions that is not learned; taken if it is the one that the model computes

    @functools.cached_property
    def rows(self) -> dict[str, tuple[str, Transform]]:
        """Name in the file and conversion, by our path."""
        return {row["ours"]: (row["theirs"], TRANSFORMS[row["transform"]]) for row in _ROWS if row["file"] == self.file}


with (Path(__file__).parent / "tensor_names.csv").open(newline="") as _file:
    _ROWS = list(csv.DictReader(_file))

_AUTHORS = (
    {"": "head", "verb": "head0", "noun": "head1"}.get,
    "{}'s files have no counterpart of {}. They have one head, or the two heads verb and noun.",
)
_PORT = {"": "classifier"}.get, "Hugging Face's {} has no counterpart of {}. It has one head."
VIVIT = Table(
    "vivit",
    "the unfactorised ViViT",
    r"(^|\.)vivit\.",
    lambda head: f"{head}_classifier" if head else "classifier",
    "Hugging Face's ViViT has no counterpart of {1}. It has the unfactorised model with a class token only.",
)
TIMESFORMER = Table("timesformer", "TimeSformer", r"\.temporal_fc\.weight$", *_AUTHORS)
# The patch embedding of pictures is one that videos do not use.
_OF_PICTURES = frozenset({"patch_embed.proj.weight", "patch_embed.proj.bias"})
MOTIONFORMER = Table("motionformer", "Motionformer", r"\.attn\.proj_kv\.weight$", *_AUTHORS, leftovers=_OF_PICTURES)
# Forks of the authors' code register the table of positions as a buffer.
VIDEOMAE = Table("videomae", "VideoMAE", r"\.attn\.q_bias$", *_AUTHORS, sinusoid="pos_embed")
_POSITIONS = "videomae.embeddings.position_embeddings"
VIDEOMAE_OF_HUGGING_FACE = Table(
    "videomae_of_hugging_face", "VideoMAE", r"(^|\.)videomae\.", *_PORT, sinusoid=_POSITIONS
)
# Of an architecture, the first whose mark is in a file is its table; the last stands for what has none.
TABLES = (
    Table("timesformer_of_hugging_face", "TimeSformer", r"(^|\.)timesformer\.", *_PORT),
    # What transformers 5.13 to 5.16 wrote: query, key and value are plain layers there, each with its bias.
    dataclasses.replace(
        VIDEOMAE_OF_HUGGING_FACE,
        file="videomae_of_transformers_5_13",
        mark=r"(^|\.)videomae\..*\.attention\.attention\.query\.bias$",
        zero_biases="videomae.encoder.layer.*.attention.attention.key.bias",
    ),
    VIDEOMAE_OF_HUGGING_FACE,
    # The names of the class itself in transformers since 5.20, which `torch.save(model.state_dict())` writes.
    dataclasses.replace(VIVIT, file="vivit_in_memory", mark=r"(^|\.)vivit\.layers\."),
    *(VIVIT, TIMESFORMER, MOTIONFORMER, VIDEOMAE),
)
# Names that only this kind of file has. The first are files that no model here reads, so that an error can name them.
# A patch embedding of videos is trajectory attention's too, and so only tells what is left.
_FILES = (
    ("VideoMAE's pre-training, which have no classifier (here the fine-tuned ones are read)", r"mask_token$"),
    ("Motionformer with divided attention (here it is trajectory attention)", r"\.timeattn\."),
    ("mmaction2 (here the authors' own and Hugging Face's are read)", r"(^|\.)cls_head\."),
    *((table.architecture, table.mark) for table in TABLES),
    ("Motionformer with joint attention (here it is trajectory attention)", r"patch_embed_3d\."),
)
# Paths that only this architecture has.
_TREES = (
    ("TimeSformer", r"/temporal_projection/kernel$"),
    ("Motionformer", r"/trajectory_query/kernel$"),
    ("VideoMAE", r"^pooled_norm/scale$"),
    ("the factorised encoder", r"^SpatialTransformer/"),
    ("the unfactorised ViViT", r"^Transformer/"),
)


def architecture_of_tree(paths: Iterable[str]) -> str | None:
    """Names the architecture that has these parameters, levels joined by `/`; None if it cannot be told."""
    return _first(_TREES, paths)


def architecture_of_file(tensors: Iterable[str]) -> str | None:
    """Names the architecture whose published files have these tensors; None if it cannot be told.

    Where our model of that architecture reads such files, the name is that of `architecture_of_tree`.
    """
    return _first(_FILES, tensors)


def tables_of(architecture: str | None) -> list[Table]:
    """The tables of an architecture; what has none of its own is looked for in ViViT's."""
    return [table for table in TABLES if table.architecture == architecture] or [VIVIT]


def _first(marks: Iterable[tuple[str, str]], names: Iterable[str]) -> str | None:
    names = list(names)
    return next((name for name, mark in marks if any(re.search(mark, one) for one in names)), None)
