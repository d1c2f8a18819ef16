"""What authors released for the presets: where each checkpoint is, under which licence, and what its classes are."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from types import MappingProxyType

from jax_vtm.errors import UserError
from jax_vtm.models.video import VideoClassifier

CLASS_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vivit": ("kinetics400", "kinetics600", "ssv2", "kinetics710"),
        "timesformer": ("kinetics400", "kinetics600", "ssv2", "kinetics710"),
        "motionformer": ("kinetics400", "kinetics600", "ssv2", "kinetics710"),
        "videomae": ("kinetics400", "ssv2", "kinetics710_videomae_v2"),
    }
)
"""By family, the lists in `class_names/` that number classes as its released checkpoints do; no two are as long."""


@dataclasses.dataclass(frozen=True)
class Release:
    """One released checkpoint.

    Attributes:
        url: Where its authors put it.
        by: Their project.
        licence: Of their repository; none of them has another for the weights.
    """

    url: str
    by: str
    licence: str

    @property
    def is_downloadable(self) -> bool:
        """Whether a program can download it: Google Drive gives large files to browsers only."""
        return not self.url.startswith("https://drive.google.com/")


def _all(by: str, licence: str, base: str, files: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], Release]:
    return {key: Release(base + file, by, licence) for key, file in files.items()}


RELEASES: Mapping[tuple[str, str], Release] = MappingProxyType(
    {
        **_all(
            "Scenic",
            "Apache-2.0",
            "https://storage.googleapis.com/scenic-bucket/vivit/",
            {
                ("vivit_b_16x2", "kinetics400"): "kinetics_400/vivit_base_16x2_unfactorized/checkpoint",
                ("vivit_b_16x2_fe", "kinetics400"): "kinetics_400/vivit_base_16x2_fe/checkpoint",
                ("vivit_l_16x2_fe", "kinetics400"): "kinetics_400/vivit_large_16x2_fe/checkpoint",
                ("vivit_l_16x2_fe", "kinetics600"): "kinetics_600/vivit_large_16x2_fe/checkpoint",
                ("vivit_l_16x2_fe_epic", "epic_kitchens_100"): "epic_kitchens/vivit_large_16x2_fe/checkpoint",
            },
        ),
        **_all(
            "TimeSformer",
            "CC-BY-NC-4.0",
            "https://www.dropbox.com/s/",
            {
                ("timesformer_b_8", "kinetics400"): "g5t24we9gl5yk88/TimeSformer_divST_8x32_224_K400.pyth?dl=1",
                ("timesformer_b_8", "kinetics600"): "4h2qt41m2z3aqrb/TimeSformer_divST_8x32_224_K600.pyth?dl=1",
                ("timesformer_b_8", "ssv2"): "tybhuml57y24wpm/TimeSformer_divST_8_224_SSv2.pyth?dl=1",
                ("timesformer_b_16_hr", "kinetics400"): "6f0x172lpqy3oxt/TimeSformer_divST_16x16_448_K400.pyth?dl=1",
                ("timesformer_b_16_hr", "kinetics600"): "ft1e92g2vhvxecv/TimeSformer_divST_16x16_448_K600.pyth?dl=1",
                ("timesformer_b_16_hr", "ssv2"): "9t68uzk8w2fpfnv/TimeSformer_divST_16_448_SSv2.pyth?dl=1",
                ("timesformer_b_64", "ssv2"): "3f1rm2al8mhprwa/TimeSformer_divST_64_224_SSv2.pyth?dl=1",
                ("timesformer_b_96", "kinetics400"): "r1iuxahif3sgimo/TimeSformer_divST_96x4_224_K400.pyth?dl=1",
                ("timesformer_b_96", "kinetics600"): "857rx6xeclxfhdg/TimeSformer_divST_96x4_224_K600.pyth?dl=1",
            },
        ),
        **_all(
            "Motionformer",
            "CC-BY-NC-4.0",
            "https://dl.fbaipublicfiles.com/motionformer/",
            {
                ("motionformer_b_16", "kinetics400"): "k400_motionformer_224_16x4.pyth",
                ("motionformer_b_16", "kinetics600"): "k600_motionformer_224_16x4.pyth",
                ("motionformer_b_16", "ssv2"): "ssv2_motionformer_224_16x4.pyth",
                ("motionformer_b_16", "epic_kitchens_100"): "ek_motionformer_224_16x4.pyth",
                ("motionformer_b_16_hr", "kinetics400"): "k400_motionformer_336_16x8.pyth",
                ("motionformer_b_16_hr", "kinetics600"): "k600_motionformer_336_16x8.pyth",
                ("motionformer_b_16_hr", "ssv2"): "ssv2_motionformer_336_16x4.pyth",
                ("motionformer_b_16_hr", "epic_kitchens_100"): "ek_motionformer_336_16x4.pyth",
                ("motionformer_b_32_l", "kinetics400"): "k400_motionformer_224_32x3.pyth",
                ("motionformer_b_32_l", "kinetics600"): "k600_motionformer_224_32x3.pyth",
                ("motionformer_b_32_l", "ssv2"): "ssv2_motionformer_224_32x3.pyth",
                ("motionformer_b_32_l", "epic_kitchens_100"): "ek_motionformer_224_32x3.pyth",
            },
        ),
        **_all(
            "VideoMAE",
            "CC-BY-NC-4.0",
            "https://drive.google.com/file/d/",
            {
                ("videomae_b_16", "kinetics400"): "1MzwteHH-1yuMnFb8vRBQDvngV1Zl-d3z",
                ("videomae_b_16", "ssv2"): "1dt_59tBIyzdZd5Ecr22lTtzs_64MOZkT",
            },
        ),
        **_all(
            "VideoMAE V2",
            "MIT",
            "https://huggingface.co/OpenGVLab/VideoMAE2/resolve/main/distill/",
            {
                ("videomae_v2_s_16", "kinetics400"): "vit_s_k710_dl_from_giant.pth",
                ("videomae_v2_b_16", "kinetics400"): "vit_b_k710_dl_from_giant.pth",
            },
        ),
    }
)
"""By preset and data set."""


def release(preset: str, dataset: str) -> Release:
    """Returns the checkpoint that was released for a preset and a data set.

    Raises:
        UserError: There is none; the message lists the preset's others.
    """
    if found := RELEASES.get((preset, dataset)):
        return found
    raise UserError(f"{where_released(preset, dataset)} Give --config.checkpoint=FILE with one of your own.")


def where_released(preset: str, dataset: str) -> str:
    """Returns a sentence that says where the checkpoint for a preset and a data set is, or that none is known."""
    if found := RELEASES.get((preset, dataset)):
        download = "; --config.checkpoint=release downloads it" if found.is_downloadable else ""
        return f"{found.by} released one as {found.url}{download}."
    others = ", ".join(data for name, data in RELEASES if name == preset)
    only = f", only those on {others}" if others else ""
    return f"No released checkpoint of {preset!r} on {dataset!r} is known{only}."


@functools.cache
def class_list(name: str) -> tuple[str, ...]:
    """Reads one of the lists of class names that ship in the package, such as "kinetics400"."""
    text = (pathlib.Path(__file__).parent / "class_names" / f"{name}.txt").read_text("utf-8")
    return tuple(text.splitlines())


@functools.cache
def classes_within(name: str, dataset: str) -> tuple[int, ...]:
    """Reads the index in the list `name` of each class of a data set.

    Raises:
        UserError: It is not known.
    """
    path = pathlib.Path(__file__).parent / "class_names" / f"{name}_to_{dataset}.txt"
    if not path.is_file():
        raise UserError(
            f"config.checkpoint_classes is {name!r}; where the classes of {dataset!r} are among those is not known. "
            "Known are those of 'kinetics400' in 'kinetics710_videomae_v2'."
        )
    return tuple(map(int, path.read_text("utf-8").split()))


def released_classes(model: VideoClassifier) -> str:
    """Returns the list that names a model's classes, found by their number; "" where none does."""
    lists = CLASS_NAMES[model.family] if isinstance(model.num_classes, int) else ()
    return next((name for name in lists if len(class_list(name)) == model.num_classes), "")
