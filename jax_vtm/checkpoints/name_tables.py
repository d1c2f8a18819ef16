"""Tables of parameter names in files of PyTorch models, and the architecture of a set of names.

`tensor_names.csv` has a row for each of our modules, or single parameters: our path and the name in the file, with `*`
for the number of the block, and the transform.

ViViT is Hugging Face's `VivitForVideoClassification`, unfactorised with a class token. TimeSformer, Motionformer and
VideoMAE are the authors' released files, the first and the last also Hugging Face's, with the same weights. VideoMAE
was trained with an epsilon of 1e-6, as here; Hugging Face's class has 1e-12 and, in `fc_norm`, 1e-5, so that its logits
differ in late digits.
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

    file: str  # in `tensor_names.csv`
    architecture: str  # as of `architecture_of_tree`
    mark: str  # pattern that only names of these files match
    head: Callable[[str], str | None]  # module of a head; None if the files have no such head
    without: str  # message for parameters that the files do not have
    leftovers: frozenset[str] = frozenset()  # tensors that the model does not need
    zero_biases: str = ""  # biases of keys, accepted if zero: merging compares keys
    sinusoid: str = ""  # fixed positions, accepted if they equal the model's

    @functools.cached_property
    def rows(self) -> dict[str, tuple[str, Transform]]:
        """Name in the file and transform, by our path."""
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
TIMESFORMER_OF_HUGGING_FACE = Table("timesformer_of_hugging_face", "TimeSformer", r"(^|\.)timesformer\.", *_PORT)
# The patch embedding of images, unused for videos.
_OF_PICTURES = frozenset({"patch_embed.proj.weight", "patch_embed.proj.bias"})
MOTIONFORMER = Table("motionformer", "Motionformer", r"\.attn\.proj_kv\.weight$", *_AUTHORS, leftovers=_OF_PICTURES)
# Forks of the authors' code register the table of positions as a buffer.
VIDEOMAE = Table("videomae", "VideoMAE", r"\.attn\.q_bias$", *_AUTHORS, sinusoid="pos_embed")
_POSITIONS = "videomae.embeddings.position_embeddings"
VIDEOMAE_OF_HUGGING_FACE = Table(
    "videomae_of_hugging_face", "VideoMAE", r"(^|\.)videomae\.", *_PORT, sinusoid=_POSITIONS
)
# The first of an architecture whose mark matches is used, else its last.
TABLES = (
    TIMESFORMER_OF_HUGGING_FACE,
    # Of transformers 5.13 to 5.16, where query, key and value are plain layers with biases.
    dataclasses.replace(
        VIDEOMAE_OF_HUGGING_FACE,
        file="videomae_of_transformers_5_13",
        mark=r"(^|\.)videomae\..*\.attention\.attention\.query\.bias$",
        zero_biases="videomae.encoder.layer.*.attention.attention.key.bias",
    ),
    VIDEOMAE_OF_HUGGING_FACE,
    # Of `torch.save(model.state_dict())` in transformers since 5.20.
    dataclasses.replace(VIVIT, file="vivit_in_memory", mark=r"(^|\.)vivit\.layers\."),
    *(VIVIT, TIMESFORMER, MOTIONFORMER, VIDEOMAE),
)
# Names that only this kind of file has, in order of precedence; some files are only named in errors.
_FILES = (
    ("VideoMAE's pre-training, which have no classifier (here the fine-tuned ones are read)", r"mask_token$"),
    ("Motionformer with divided attention (here it is trajectory attention)", r"\.timeattn\."),
    ("mmaction2 (here the authors' own and Hugging Face's are read)", r"(^|\.)cls_head\."),
    *((table.architecture, table.mark) for table in TABLES),
    ("Motionformer with joint attention (here it is trajectory attention)", r"patch_embed_3d\."),
)
_TREES = (
    ("TimeSformer", r"/temporal_projection/kernel$"),
    ("Motionformer", r"/trajectory_query/kernel$"),
    ("VideoMAE", r"^pooled_norm/scale$"),
    ("the factorised encoder", r"^SpatialTransformer/"),
    ("the unfactorised ViViT", r"^Transformer/"),
)


def architecture_of_tree(paths: Iterable[str]) -> str | None:
    """Returns the architecture with these parameters (levels joined by `/`), or None."""
    return _first(_TREES, paths)


def architecture_of_file(tensors: Iterable[str]) -> str | None:
    """Returns the architecture whose published files have these tensors, or None."""
    return _first(_FILES, tensors)


def tables_of(architecture: str | None) -> list[Table]:
    """Returns the tables of an architecture, or else ViViT's."""
    return [table for table in TABLES if table.architecture == architecture] or [VIVIT]


def _first(marks: Iterable[tuple[str, str]], names: Iterable[str]) -> str | None:
    names = list(names)
    return next((name for name, mark in marks if any(re.search(mark, one) for one in names)), None)
