"""Published clip protocols: how each model is tested on each data set, by the paper and by its own authors.

Three names are known. `paper` is what the code of "Video, How Do Your Tokens Merge?" does, its quirks included.
`standard` is what a model's own authors published their accuracy with. `scenic` is Scenic's test pipeline.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.spatial import HALF, RGB
from jax_vtm.errors import UserError

KINETICS = ("kinetics400", "kinetics600")
DATASETS = (*KINETICS, "ssv2", "epic_kitchens_100")

_SLOWFAST: tuple[RGB, RGB] = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
_IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: tuple[RGB, RGB] = (HALF, HALF)


@dataclass(frozen=True)
class PublishedProtocol:
    """A protocol, but for what the model says: frames per clip and pixels.

    Attributes:
        strides: Stride by the model's (frames, pixels per side); empty where the sampling has none.
        fields: Fields of `ClipProtocol`.
        short_side: Pixels; None for the model's own, so that nothing is cut off the shorter side.
    """

    strides: Mapping[tuple[int, int], int]
    fields: Mapping[str, Any] = field(default_factory=dict)
    short_side: int | None = None


def _scenic(stride: int, num_crops: int) -> PublishedProtocol:
    fields = {"num_clips": 4, "num_crops": num_crops, "fast_jpeg": True}
    return PublishedProtocol({(32, 224): stride}, fields, short_side=256)


def _slowfast(
    sampling: str, strides: Mapping[tuple[int, int], int], colours: tuple[RGB, RGB], short_side=None, **fields
) -> PublishedProtocol:
    mean, std = colours
    timing = {} if sampling == "slowfast_segments" else {"rate_fps": 30.0}
    shared = {"sampling": sampling, "resize": "slowfast", "pad": "clamp", "mean": mean, "std": std}
    return PublishedProtocol(strides, {**shared, **timing, **fields}, short_side)


def _videomae(sampling: str, strides: Mapping[tuple[int, int], int], num_clips: int) -> PublishedProtocol:
    mean, std = _IMAGENET
    fields = {"sampling": sampling, "resize": "videomae", "pad": "clamp", "mean": mean, "std": std}
    # Views' probabilities are averaged (`engine_for_finetuning.merge`).
    return PublishedProtocol(strides, {**fields, "num_clips": num_clips, "num_crops": 3, "view_average": "softmax"})


# Scenic's projects/vivit, configs and README. Its config for EPIC-KITCHENS asks for three crops; the published 43.6 are
# of 4x1 views. For Something-Something it has none of this size: its ViViT-L takes 256 pixels of a short side of 288.
_SCENIC = {
    "kinetics400": _scenic(stride=2, num_crops=3),
    "kinetics600": _scenic(stride=2, num_crops=3),
    "ssv2": _scenic(stride=1, num_crops=3),
    "epic_kitchens_100": _scenic(stride=1, num_crops=1),
}

# TimeSformer's repository, configs/{Kinetics,SSv2}/TimeSformer_divST_*.yaml: 1 view x 3 crops of a short side of the
# model's pixels. Something-Something pictures are read by OpenCV, blue first, and stay so: the configs ask for a
# reversal, which the data set leaves out for models of the kind `vit`.
_TIMESFORMER_KINETICS = _slowfast("slowfast", {(8, 224): 32, (16, 448): 16, (96, 224): 4}, _SLOWFAST, num_crops=3)
_TIMESFORMER = {
    "kinetics400": _TIMESFORMER_KINETICS,
    "kinetics600": _TIMESFORMER_KINETICS,
    "ssv2": _slowfast("slowfast_segments", {}, _SLOWFAST, num_crops=3, channels="bgr"),
}

# Motionformer's repository, configs/{K400,K600,SSV2,EK}/motionformer_*.yaml: 10 x 3 views, Something-Something 1 x 3;
# the model's probabilities are added up. EPIC-KITCHENS pictures are read by OpenCV, blue first, and stay so;
# Something-Something's are reversed.
_MOTIONFORMER_KINETICS = _slowfast(
    "slowfast",
    {(16, 224): 4, (16, 336): 8, (32, 224): 3},
    _HALF,
    num_clips=10,
    num_crops=3,
    view_average="softmax",
)
_MOTIONFORMER = {
    "kinetics400": _MOTIONFORMER_KINETICS,
    # Motionformer-HR takes every eighth frame of Kinetics-400, and every fourth of Kinetics-600.
    "kinetics600": replace(_MOTIONFORMER_KINETICS, strides={**_MOTIONFORMER_KINETICS.strides, (16, 336): 4}),
    "ssv2": _slowfast("slowfast_segments", {}, _HALF, num_crops=3, view_average="softmax"),
    "epic_kitchens_100": _slowfast(
        "slowfast_epic",
        {(16, 224): 4, (16, 336): 4, (32, 224): 3},
        _HALF,
        num_clips=10,
        num_crops=3,
        view_average="softmax",
        channels="bgr",
    ),
}

# VideoMAE's repository, FINETUNE.md and scripts/: 5 x 3 views of 16 frames at stride 4; Something-Something 2 x 3.
_VIDEOMAE = {
    "kinetics400": _videomae("videomae", {(16, 224): 4}, num_clips=5),
    "ssv2": _videomae("videomae_segments", {}, num_clips=2),
}


def _paper(
    frames: int, kinetics_rate: int, epic_rate: int, colours: tuple[RGB, RGB], **fields
) -> dict[str, PublishedProtocol]:
    """The configs named tome_*.yaml of the paper's code: 1 view, from the beginning of the video or action.

    Kinetics is scaled to 256 pixels and cropped in the centre, EPIC-KITCHENS to 224. On Something-Something the crop
    is the left one: crop 0 of one crop. ViViT gets PySlowFast's mean and standard deviation, not its own.
    """
    size = (frames, 224)
    return {
        "kinetics400": _slowfast("slowfast_paper", {size: kinetics_rate}, colours, short_side=256, **fields),
        "ssv2": _slowfast("slowfast_segments", {}, colours, single_crop="first", **fields),
        "epic_kitchens_100": _slowfast("slowfast_epic", {size: epic_rate}, colours, **fields),
    }


PROTOCOLS: Mapping[str, Mapping[str, Mapping[str, PublishedProtocol]]] = MappingProxyType(
    {
        "standard": {
            "vivit": _SCENIC,
            "timesformer": _TIMESFORMER,
            "motionformer": _MOTIONFORMER,
            "videomae": _VIDEOMAE,
        },
        "paper": {
            "vivit": _paper(32, kinetics_rate=2, epic_rate=2, colours=_SLOWFAST),
            "timesformer": _paper(8, kinetics_rate=32, epic_rate=8, colours=_SLOWFAST),
            # Its output in the paper's code are probabilities.
            "motionformer": _paper(16, kinetics_rate=4, epic_rate=4, colours=_HALF, view_average="softmax"),
            "videomae": _paper(16, kinetics_rate=1, epic_rate=2, colours=_IMAGENET),
        },
        "scenic": {"vivit": _SCENIC},
    }
)
"""Protocols by name, model family and data set."""


def published_protocol(
    protocol: str, family: str, dataset: str, *, num_frames: int, crop: int, **overrides: Any
) -> ClipProtocol:
    """Looks up a published protocol for a model.

    Args:
        protocol: `paper`, `standard` or `scenic`.
        family: `vivit`, `timesformer`, `motionformer` or `videomae`.
        dataset: One of `DATASETS`.
        num_frames: Frames per clip that the model takes.
        crop: Pixels per side that the model takes.
        **overrides: Fields of `ClipProtocol` that take the place of the published ones.

    Raises:
        UserError: There is no such protocol, or it has no stride for a model of this size and none is given.
    """
    try:
        found = PROTOCOLS[protocol][family][dataset]
    except KeyError:
        raise UserError(
            f"there is no protocol {protocol!r} for {family} on {dataset!r}. There are {_all_for(family)}. For other "
            "data leave the protocol empty, and say yourself how clips are taken."
        ) from None
    fields = {"short_side": found.short_side or crop, **found.fields}
    if not found.strides:
        fields["stride"] = None
    elif (num_frames, crop) in found.strides:
        fields["stride"] = found.strides[num_frames, crop]
    elif "stride" not in overrides:
        known = ", ".join(
            f"{stride} for {frames} frames of {size} pixels" for (frames, size), stride in found.strides.items()
        )
        raise UserError(
            f"the protocol {protocol!r} for {family} on {dataset!r} has no stride for {num_frames} frames of {crop} "
            f"pixels, only {known}; give a stride."
        )
    return ClipProtocol(num_frames=num_frames, crop=crop, **{**fields, **overrides})


def _all_for(family: str) -> str:
    found = {name: families[family] for name, families in PROTOCOLS.items() if family in families}
    return "; ".join(f"{name!r} for {', '.join(datasets)}" for name, datasets in found.items())
