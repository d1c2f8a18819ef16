"""The names of parameters in the files of others, and which architecture a set of names belongs to.

A table has a row for each of our modules: the module's path, `*` for the number of its block; the name in the file, `*`
for the same number; and how the tensors become the parameter. A row of a single parameter has its whole path.

ViViT: Hugging Face's `VivitForVideoClassification`; it has the unfactorised model with a class token only.
TimeSformer, Motionformer, VideoMAE: the authors' released files, and Hugging Face's of the first and the last. The
weights are the same under both names. VideoMAE's were trained with 1e-6 in every layer normalisation, which is what the
model here computes; Hugging Face's class has 1e-12 and, in `fc_norm`, 1e-5, so that its logits differ from the authors'
and from ours in late digits.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from jax_vtm.checkpoints.transforms import (
    Transform,
    dense,
    flat,
    frame_patches,
    from_heads,
    patches,
    same,
    stacked,
)

Rows = Mapping[str, tuple[str, Transform]]


@dataclasses.dataclass(frozen=True)
class Table:
    """The names of one kind of file.

    Attributes:
        architecture: Whose parameters they are, as `architecture_of_tree` says it.
        files: Whose files these are, with an article where one belongs, for messages.
        mark: What only names of these files match.
        rows: Name in the file and conversion, by our path.
        head: The module of the head of that name; None if the files have no such head.
        leftovers: Tensors that the files have and the model has no use for.
        zero_biases: Biases of keys: they change no attention, but the keys that merging compares. Taken if zero.
        sinusoid: A table of positions that is not learned. Taken if it is the one that the model computes.
        limits: What the files have, for a model that they do not have.
    """

    architecture: str
    files: str
    mark: re.Pattern[str]
    rows: Rows
    head: Callable[[str], str | None]
    limits: str
    leftovers: frozenset[str] = frozenset()
    zero_biases: str = ""
    sinusoid: str = ""


def _below(path: str, rows: Rows) -> Rows:
    return {f"{path}/{part}": row for part, row in rows.items()}


def _joint(name: str) -> Rows:
    """Query, key and value in one layer, and the output's projection."""
    qkv = {part: (f"{name}.qkv", stacked(index, 3)) for index, part in enumerate(("query", "key", "value"))}
    return {**qkv, "out": (f"{name}.proj", from_heads)}


def _hugging_face_block(name: str, norms: tuple[str, str], attention: str, mlp: str) -> Rows:
    """A block in Hugging Face's ports of models whose query, key and value are three layers."""
    parts = {part: (f"{name}.attention.attention.{part}", dense) for part in ("query", "key", "value")}
    return {
        norms[0]: (f"{name}.layernorm_before", dense),
        norms[1]: (f"{name}.layernorm_after", dense),
        f"{mlp}/Dense_0": (f"{name}.intermediate.dense", dense),
        f"{mlp}/Dense_1": (f"{name}.output.dense", dense),
        **_below(attention, {**parts, "out": (f"{name}.attention.output.dense", from_heads)}),
    }


_AUTHORS_BLOCK: Rows = {
    "encoderblock_*/attention_norm": ("blocks.*.norm1", dense),
    "encoderblock_*/mlp_norm": ("blocks.*.norm2", dense),
    "encoderblock_*/mlp/Dense_0": ("blocks.*.mlp.fc1", dense),
    "encoderblock_*/mlp/Dense_1": ("blocks.*.mlp.fc2", dense),
    **_below("encoderblock_*/attention", _joint("blocks.*.attn")),
}
_AUTHORS_HEADS = {"": "head", "verb": "head0", "noun": "head1"}.get
_AUTHORS_LIMITS = "They have one head, or the two heads verb and noun."
_ONE_HEAD = {"": "classifier"}.get

VIVIT = Table(
    architecture="the unfactorised ViViT",
    files="Hugging Face's ViViT",
    mark=re.compile(r"(^|\.)vivit\."),
    rows={
        "cls": ("vivit.embeddings.cls_token", same),
        "Transformer/posembed_input/pos_embedding": ("vivit.embeddings.position_embeddings", same),
        "Transformer/encoder_norm": ("vivit.layernorm", dense),
        "embedding": ("vivit.embeddings.patch_embeddings.projection", patches),
        **_below(
            "Transformer/encoderblock_*",
            _hugging_face_block(
                "vivit.encoder.layer.*",
                ("LayerNorm_0", "LayerNorm_1"),
                "MultiHeadDotProductAttention_0",
                "MlpBlock_0",
            ),
        ),
    },
    head=lambda head: f"{head}_classifier" if head else "classifier",
    limits="It has the unfactorised model with a class token only.",
)
# The names of the class itself in transformers since 5.20, which `torch.save(model.state_dict())` writes.
_IN_MEMORY = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
VIVIT_IN_MEMORY = dataclasses.replace(
    VIVIT,
    mark=re.compile(r"(^|\.)vivit\.layers\."),
    rows={
        ours: (f"vivit.layers.*.{_IN_MEMORY.get(rest, rest)}" if rest else theirs, transform)
        for ours, (theirs, transform) in VIVIT.rows.items()
        for _, _, rest in [theirs.partition("encoder.layer.*.")]
    },
)
TIMESFORMER = Table(
    architecture="TimeSformer",
    files="TimeSformer's files",
    mark=re.compile(r"\.temporal_fc\.weight$"),
    rows={
        "positions/cls": ("cls_token", same),
        "positions/space": ("pos_embed", same),
        "positions/time": ("time_embed", same),
        "embedding": ("patch_embed.proj", frame_patches),
        "encoder_norm": ("norm", dense),
        "encoderblock_*/temporal_norm": ("blocks.*.temporal_norm1", dense),
        "encoderblock_*/temporal_projection": ("blocks.*.temporal_fc", dense),
        **_below("encoderblock_*/temporal_attention", _joint("blocks.*.temporal_attn")),
        **_AUTHORS_BLOCK,
    },
    head=_AUTHORS_HEADS,
    limits=_AUTHORS_LIMITS,
)
# The authors' names, and what Hugging Face calls them.
_RENAMED = (
    ("cls_token", "timesformer.embeddings.cls_token"),
    ("pos_embed", "timesformer.embeddings.position_embeddings"),
    ("time_embed", "timesformer.embeddings.time_embeddings"),
    ("patch_embed.proj", "timesformer.embeddings.patch_embeddings.projection"),
    ("norm", "timesformer.layernorm"),
    ("blocks.*.temporal_norm1", "timesformer.encoder.layer.*.temporal_layernorm"),
    ("blocks.*.temporal_fc", "timesformer.encoder.layer.*.temporal_dense"),
    ("blocks.*.temporal_attn.qkv", "timesformer.encoder.layer.*.temporal_attention.attention.qkv"),
    ("blocks.*.temporal_attn.proj", "timesformer.encoder.layer.*.temporal_attention.output.dense"),
    ("blocks.*.norm1", "timesformer.encoder.layer.*.layernorm_before"),
    ("blocks.*.norm2", "timesformer.encoder.layer.*.layernorm_after"),
    ("blocks.*.attn.qkv", "timesformer.encoder.layer.*.attention.attention.qkv"),
    ("blocks.*.attn.proj", "timesformer.encoder.layer.*.attention.output.dense"),
    ("blocks.*.mlp.fc1", "timesformer.encoder.layer.*.intermediate.dense"),
    ("blocks.*.mlp.fc2", "timesformer.encoder.layer.*.output.dense"),
)
TIMESFORMER_OF_HUGGING_FACE = Table(
    architecture="TimeSformer",
    files="Hugging Face's TimeSformer",
    mark=re.compile(r"(^|\.)timesformer\."),
    rows={ours: (dict(_RENAMED)[theirs], transform) for ours, (theirs, transform) in TIMESFORMER.rows.items()},
    head=_ONE_HEAD,
    limits="It has one head.",
)
MOTIONFORMER = Table(
    architecture="Motionformer",
    files="Motionformer's files",
    mark=re.compile(r"\.attn\.proj_kv\.weight$"),
    rows={
        "positions/cls": ("cls_token", same),
        "positions/space": ("pos_embed", same),
        "positions/time": ("temp_embed", same),
        "embedding": ("patch_embed_3d.proj", patches),
        "encoder_norm": ("norm", dense),
        "pre_logits": ("pre_logits.fc", dense),
        "encoderblock_*/attention/trajectory_query": ("blocks.*.attn.proj_q", dense),
        "encoderblock_*/attention/trajectory_key": ("blocks.*.attn.proj_kv", stacked(0, 2)),
        "encoderblock_*/attention/trajectory_value": ("blocks.*.attn.proj_kv", stacked(1, 2)),
        **_AUTHORS_BLOCK,
    },
    head=_AUTHORS_HEADS,
    limits=_AUTHORS_LIMITS,
    # The patch embedding of pictures, which videos do not use.
    leftovers=frozenset({"patch_embed.proj.weight", "patch_embed.proj.bias"}),
)
VIDEOMAE = Table(
    architecture="VideoMAE",
    files="VideoMAE's files",
    mark=re.compile(r"\.attn\.q_bias$"),
    rows={
        "embedding": ("patch_embed.proj", patches),
        "pooled_norm": ("fc_norm", dense),
        **_AUTHORS_BLOCK,
        "encoderblock_*/attention/query/bias": ("blocks.*.attn.q_bias", flat),
        "encoderblock_*/attention/value/bias": ("blocks.*.attn.v_bias", flat),
    },
    head=_AUTHORS_HEADS,
    limits=_AUTHORS_LIMITS,
    sinusoid="pos_embed",  # forks of the authors' code register it as a buffer
)
# What transformers 5.13 to 5.16 wrote: query, key and value are plain layers there, each with its bias.
VIDEOMAE_OF_TRANSFORMERS_5_13 = Table(
    architecture="VideoMAE",
    files="Hugging Face's VideoMAE",
    mark=re.compile(r"(^|\.)videomae\..*\.attention\.attention\.query\.bias$"),
    rows={
        "embedding": ("videomae.embeddings.patch_embeddings.projection", patches),
        "pooled_norm": ("fc_norm", dense),
        **_below(
            "encoderblock_*",
            _hugging_face_block("videomae.encoder.layer.*", ("attention_norm", "mlp_norm"), "attention", "mlp"),
        ),
    },
    head=_ONE_HEAD,
    limits="It has one head.",
    zero_biases="videomae.encoder.layer.*.attention.attention.key.bias",
    sinusoid="videomae.embeddings.position_embeddings",
)
VIDEOMAE_OF_HUGGING_FACE = dataclasses.replace(
    VIDEOMAE_OF_TRANSFORMERS_5_13,
    mark=re.compile(r"(^|\.)videomae\."),
    rows={
        **VIDEOMAE_OF_TRANSFORMERS_5_13.rows,
        "encoderblock_*/attention/query/bias": ("videomae.encoder.layer.*.attention.attention.q_bias", flat),
        "encoderblock_*/attention/value/bias": ("videomae.encoder.layer.*.attention.attention.v_bias", flat),
    },
    zero_biases="",
)
# Of an architecture, the first whose mark is in a file is its table; the last stands for what has none.
TABLES = (
    TIMESFORMER_OF_HUGGING_FACE,
    VIDEOMAE_OF_TRANSFORMERS_5_13,
    VIDEOMAE_OF_HUGGING_FACE,
    VIVIT_IN_MEMORY,
    VIVIT,
    TIMESFORMER,
    MOTIONFORMER,
    VIDEOMAE,
)
# Files that no model here reads, so that an error can say what they are.
_UNREAD = (
    (
        "VideoMAE's pre-training, which have no classifier (here the fine-tuned ones are read)",
        re.compile(r"mask_token$"),
    ),
    ("Motionformer with divided attention (here it is trajectory attention)", re.compile(r"\.timeattn\.")),
    ("mmaction2 (here the authors' own and Hugging Face's are read)", re.compile(r"(^|\.)cls_head\.")),
)
# A patch embedding of videos is trajectory attention's too, and so only tells what is left.
_LAST = (("Motionformer with joint attention (here it is trajectory attention)", re.compile(r"patch_embed_3d\.")),)
# Paths that only this architecture has.
_TREES = (
    ("TimeSformer", re.compile(r"/temporal_projection/kernel$")),
    ("Motionformer", re.compile(r"/trajectory_query/kernel$")),
    ("VideoMAE", re.compile(r"^pooled_norm/scale$")),
    ("the factorised encoder", re.compile(r"^SpatialTransformer/")),
    ("the unfactorised ViViT", re.compile(r"^Transformer/")),
)


def architecture_of_tree(paths: Iterable[str]) -> str | None:
    """Names the architecture that has these parameters, levels joined by `/`; None if it cannot be told."""
    return _first(_TREES, paths)


def architecture_of_file(tensors: Iterable[str]) -> str | None:
    """Names the architecture whose published files have these tensors; None if it cannot be told.

    Where our model of that architecture reads such files, the name is that of `architecture_of_tree`.
    """
    return _first((*_UNREAD, *((table.architecture, table.mark) for table in TABLES), *_LAST), tensors)


def tables_of(architecture: str | None) -> list[Table]:
    """The tables of an architecture; what has none of its own is looked for in ViViT's."""
    return [table for table in TABLES if table.architecture == architecture] or [VIVIT]


def _first(marks: Iterable[tuple[str, re.Pattern[str]]], names: Iterable[str]) -> str | None:
    names = list(names)
    return next((name for name, mark in marks if any(map(mark.search, names))), None)
