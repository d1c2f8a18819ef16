"""The names of parameters in the files of others, and which architecture a set of names belongs to.

A table has a row for each of our modules: the module's path, `*` for the number of its block; the name in the file, `*`
for the same number; and how the tensors become the parameter. A row of a single parameter has its whole path.

ViViT: Hugging Face's `VivitForVideoClassification`; it has the unfactorised model with a class token only.
TimeSformer, Motionformer, VideoMAE: the authors' released files, and Hugging Face's of the first and the last. The
weights are the same under both names. VideoMAE's were trained with 1e-6 in every layer normalisation, which is what the
model here computes; Hugging Face's class has 1e-12 and, in `fc_norm`, 1e-5, so that its logits differ from the authors'
and from ours in late digits.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from jax_vtm.checkpoints.transforms import Transform, dense, flat, frame_patches, from_heads, patches, same, stacked

Rows = Mapping[str, tuple[str, Transform]]


@dataclasses.dataclass(frozen=True)
class Table:
    """The names of one kind of file.

    Attributes:
        architecture: Whose parameters they are, as `architecture_of_tree` says it.
        mark: What only names of these files match.
        rows: Name in the file and conversion, by our path.
        head: The module of the head of that name; None if the files have no such head.
        without: What to say of parameters that the files do not have.
        leftovers: Tensors that the files have and the model has no use for.
        zero_biases: Biases of keys: they change no attention, but the keys that merging compares. Taken if zero.
        sinusoid: A table of positions that is not learned. Taken if it is the one that the model computes.
    """

    architecture: str
    mark: re.Pattern[str]
    rows: Rows
    head: Callable[[str], str | None]
    without: str
    leftovers: frozenset[str] = frozenset()
    zero_biases: str = ""
    sinusoid: str = ""


def _below(path: str, rows: Rows) -> Rows:
    return {f"{path}/{part}": row for part, row in rows.items()}


def _joint(qkv: str, out: str) -> Rows:
    """Attention whose query, key and value are one layer."""
    parts = {part: (qkv, stacked(index, 3)) for index, part in enumerate(("query", "key", "value"))}
    return {**parts, "out": (out, from_heads)}


def _hugging_face_block(ours: Sequence[str], name: str, attention: Rows | None = None) -> Rows:
    """Normalisations, MLP and attention of a block, in this order, in Hugging Face's ports."""
    apart: Rows = {part: (f"{name}.attention.attention.{part}", dense) for part in ("query", "key", "value")}
    return {
        ours[0]: (f"{name}.layernorm_before", dense),
        ours[1]: (f"{name}.layernorm_after", dense),
        f"{ours[2]}/Dense_0": (f"{name}.intermediate.dense", dense),
        f"{ours[2]}/Dense_1": (f"{name}.output.dense", dense),
        **_below(ours[3], attention or {**apart, "out": (f"{name}.attention.output.dense", from_heads)}),
    }


_BLOCK = [f"encoderblock_*/{part}" for part in ("attention_norm", "mlp_norm", "mlp", "attention")]
_SCENICS = ("LayerNorm_0", "LayerNorm_1", "MlpBlock_0", "MultiHeadDotProductAttention_0")
_AUTHORS_BLOCK: Rows = {
    "encoderblock_*/attention_norm": ("blocks.*.norm1", dense),
    "encoderblock_*/mlp_norm": ("blocks.*.norm2", dense),
    "encoderblock_*/mlp/Dense_0": ("blocks.*.mlp.fc1", dense),
    "encoderblock_*/mlp/Dense_1": ("blocks.*.mlp.fc2", dense),
    **_below("encoderblock_*/attention", _joint("blocks.*.attn.qkv", "blocks.*.attn.proj")),
}
_AUTHORS_HEADS = {"": "head", "verb": "head0", "noun": "head1"}.get
_AUTHORS = "{}'s files have no counterpart of {{}}. They have one head, or the two heads verb and noun."
_PORT = "Hugging Face's {} has no counterpart of {{}}. It has one head."
_ONE_HEAD = {"": "classifier"}.get

VIVIT = Table(
    architecture="the unfactorised ViViT",
    mark=re.compile(r"(^|\.)vivit\."),
    rows={
        "cls": ("vivit.embeddings.cls_token", same),
        "Transformer/posembed_input/pos_embedding": ("vivit.embeddings.position_embeddings", same),
        "Transformer/encoder_norm": ("vivit.layernorm", dense),
        "embedding": ("vivit.embeddings.patch_embeddings.projection", patches),
        **_hugging_face_block([f"Transformer/encoderblock_*/{part}" for part in _SCENICS], "vivit.encoder.layer.*"),
    },
    head=lambda head: f"{head}_classifier" if head else "classifier",
    without="Hugging Face's ViViT has no counterpart of {}. It has the unfactorised model with a class token only.",
)
# The names of the class itself in transformers since 5.20, which `torch.save(model.state_dict())` writes.
_IN_MEMORY = {
    **{f"attention.attention.{part}": f"attention.{part[0]}_proj" for part in ("query", "key", "value")},
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
    mark=re.compile(r"\.temporal_fc\.weight$"),
    rows={
        "positions/cls": ("cls_token", same),
        "positions/space": ("pos_embed", same),
        "positions/time": ("time_embed", same),
        "embedding": ("patch_embed.proj", frame_patches),
        "encoder_norm": ("norm", dense),
        "encoderblock_*/temporal_norm": ("blocks.*.temporal_norm1", dense),
        "encoderblock_*/temporal_projection": ("blocks.*.temporal_fc", dense),
        **_below(
            "encoderblock_*/temporal_attention", _joint("blocks.*.temporal_attn.qkv", "blocks.*.temporal_attn.proj")
        ),
        **_AUTHORS_BLOCK,
    },
    head=_AUTHORS_HEADS,
    without=_AUTHORS.format("TimeSformer"),
)
_LAYER = "timesformer.encoder.layer.*"
TIMESFORMER_OF_HUGGING_FACE = Table(
    architecture="TimeSformer",
    mark=re.compile(r"(^|\.)timesformer\."),
    rows={
        "positions/cls": ("timesformer.embeddings.cls_token", same),
        "positions/space": ("timesformer.embeddings.position_embeddings", same),
        "positions/time": ("timesformer.embeddings.time_embeddings", same),
        "embedding": ("timesformer.embeddings.patch_embeddings.projection", frame_patches),
        "encoder_norm": ("timesformer.layernorm", dense),
        "encoderblock_*/temporal_norm": (f"{_LAYER}.temporal_layernorm", dense),
        "encoderblock_*/temporal_projection": (f"{_LAYER}.temporal_dense", dense),
        **_below(
            "encoderblock_*/temporal_attention",
            _joint(f"{_LAYER}.temporal_attention.attention.qkv", f"{_LAYER}.temporal_attention.output.dense"),
        ),
        **_hugging_face_block(
            _BLOCK, _LAYER, _joint(f"{_LAYER}.attention.attention.qkv", f"{_LAYER}.attention.output.dense")
        ),
    },
    head=_ONE_HEAD,
    without=_PORT.format("TimeSformer"),
)
MOTIONFORMER = Table(
    architecture="Motionformer",
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
    without=_AUTHORS.format("Motionformer"),
    # The patch embedding of pictures, which videos do not use.
    leftovers=frozenset({"patch_embed.proj.weight", "patch_embed.proj.bias"}),
)
VIDEOMAE = Table(
    architecture="VideoMAE",
    mark=re.compile(r"\.attn\.q_bias$"),
    rows={
        "embedding": ("patch_embed.proj", patches),
        "pooled_norm": ("fc_norm", dense),
        **_AUTHORS_BLOCK,
        "encoderblock_*/attention/query/bias": ("blocks.*.attn.q_bias", flat),
        "encoderblock_*/attention/value/bias": ("blocks.*.attn.v_bias", flat),
    },
    head=_AUTHORS_HEADS,
    without=_AUTHORS.format("VideoMAE"),
    sinusoid="pos_embed",  # forks of the authors' code register it as a buffer
)
# What transformers 5.13 to 5.16 wrote: query, key and value are plain layers there, each with its bias.
VIDEOMAE_OF_TRANSFORMERS_5_13 = Table(
    architecture="VideoMAE",
    mark=re.compile(r"(^|\.)videomae\..*\.attention\.attention\.query\.bias$"),
    rows={
        "embedding": ("videomae.embeddings.patch_embeddings.projection", patches),
        "pooled_norm": ("fc_norm", dense),
        **_hugging_face_block(_BLOCK, "videomae.encoder.layer.*"),
    },
    head=_ONE_HEAD,
    without=_PORT.format("VideoMAE"),
    zero_biases="videomae.encoder.layer.*.attention.attention.key.bias",
    sinusoid="videomae.embeddings.position_embeddings",
)
_BIASES = "videomae.encoder.layer.*.attention.attention"
VIDEOMAE_OF_HUGGING_FACE = dataclasses.replace(
    VIDEOMAE_OF_TRANSFORMERS_5_13,
    mark=re.compile(r"(^|\.)videomae\."),
    rows={
        **VIDEOMAE_OF_TRANSFORMERS_5_13.rows,
        "encoderblock_*/attention/query/bias": (f"{_BIASES}.q_bias", flat),
        "encoderblock_*/attention/value/bias": (f"{_BIASES}.v_bias", flat),
    },
    zero_biases="",
)
# Of an architecture, the first whose mark is in a file is its table; the last stands for what has none.
TABLES = (
    *(TIMESFORMER_OF_HUGGING_FACE, VIDEOMAE_OF_TRANSFORMERS_5_13, VIDEOMAE_OF_HUGGING_FACE, VIVIT_IN_MEMORY, VIVIT),
    *(TIMESFORMER, MOTIONFORMER, VIDEOMAE),
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
