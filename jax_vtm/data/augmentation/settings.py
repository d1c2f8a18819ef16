"""How training clips are changed at random, as data: every setting."""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jax_vtm.data.augmentation.crops import Range, jittered
from jax_vtm.data.augmentation.recipes import published
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.protocols import DATASETS
from jax_vtm.errors import UserError

Crop = Literal["scale_jitter", "short_side_jitter", "resized_crop"]
Colour = Literal["scenic", "slowfast"]

_SCENIC = re.compile(r"scenic-m(\d+)-n(\d+)")
# From where on Posterize keeps all bits.
_MOST = 20
_TIMM = re.compile(r"rand-m(\d+)(?:-n(\d+))?-mstd(\d+(?:\.\d+)?)-inc1")


@dataclass(frozen=True)
class Augmentation:
    """What is drawn at random for a training clip, but for its frames, which the protocol's `sampling` decides.

    Attributes:
        crop: How frames are scaled and cropped. `scale_jitter`: to the protocol's short side, then height and width
            each by a factor in `scale`; a square anywhere (Scenic). `short_side_jitter`: to a short side of pixels in
            `scale`; a square anywhere (PySlowFast). `resized_crop`: a box whose share of the frame is in `scale`, width
            / height in `aspect`, scaled to the model's size (VideoMAE).
        scale: Lowest and highest.
        aspect: The same; of `resized_crop` alone.
        inverse: Whether it is the inverse of `short_side_jitter`'s pixels that is drawn evenly.
        flip: Whether half of the clips are mirrored. Wrong where a class says a direction.
        colour: Scenic's brightness, saturation, contrast and hue, or PySlowFast's brightness, contrast and saturation.
        colour_probability: Share of the clips that it is applied to.
        grey_probability: Share of the clips that lose their colours, drawn apart.
        randaugment: `scenic-mM-nN`, or timm's `rand-mM-nN-mstdS-inc1`: N operations of magnitude M; empty for none.
        erasing: Share of the clips in which a box is filled with noise.
        repeats: How many times each video comes, one after the other: the same frames, changed differently.

    Raises:
        UserError: A value makes no sense, or does not go with another.
    """

    crop: Crop = "scale_jitter"
    scale: Range = (0.9, 1.33)
    aspect: Range = (1.0, 1.0)
    inverse: bool = False
    flip: bool = False
    colour: Colour = "scenic"
    colour_probability: float = 0.0
    grey_probability: float = 0.0
    randaugment: str = ""
    erasing: float = 0.0
    repeats: int = 1

    def __post_init__(self):
        for name, known in (("crop", get_args(Crop)), ("colour", get_args(Colour))):
            self._check(name, getattr(self, name) in known, f"expected one of {', '.join(known)}")
        for name in ("scale", "aspect"):
            match getattr(self, name):
                case [int() | float() as low, int() | float() as high] if 0 < low <= high:
                    object.__setattr__(self, name, (low, high))
                case _:
                    self._check(name, False, "expected two numbers above 0, the lower one first")
        for name in ("colour_probability", "grey_probability", "erasing"):
            self._check(name, 0 <= getattr(self, name) <= 1, "expected a share of the clips, 0 to 1")
        self._check("repeats", isinstance(self.repeats, int) and self.repeats >= 1, "expected an integer of at least 1")
        known = not self.randaugment or self.scenic_randaugment or self.timm_randaugment
        self._check("randaugment", known, "expected scenic-mM-nN or rand-mM-nN-mstdS-inc1, such as scenic-m15-n2")
        in_range = not self.scenic_randaugment or self.scenic_randaugment[0] <= _MOST
        self._check("randaugment", in_range, f"whose magnitude is at most {_MOST}, as every value has 8 bits")
        whole = not self.scenic_randaugment or self.crop == "scale_jitter"
        self._check("randaugment", whole, "which takes whole pixel values; use the crop 'scale_jitter'")

    def _check(self, name: str, holds: Any, otherwise: str) -> None:
        if not holds:
            raise UserError(f"augmentation: {name} is {getattr(self, name)!r}, {otherwise}")

    @property
    def scenic_randaugment(self) -> tuple[int, int] | None:
        """Magnitude and number of operations of Scenic's RandAugment, if it is that."""
        found = _SCENIC.fullmatch(self.randaugment)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def timm_randaugment(self) -> tuple[int, int, float] | None:
        """Magnitude, number of operations and standard deviation of the magnitude of timm's, if it is that."""
        found = _TIMM.fullmatch(self.randaugment)
        return (int(found[1]), int(found[2] or 2), float(found[3])) if found else None

    @property
    def is_whole(self) -> bool:
        """Whether clips stay uint8, so that the devices can normalise them."""
        changed = self.colour_probability or self.grey_probability or self.erasing
        return self.crop == "scale_jitter" and not changed

    def check_fits(self, protocol: ClipProtocol) -> None:
        """Raises `UserError` where frames can come out smaller than the protocol's crop."""
        low = self.scale[0]
        least = {"scale_jitter": jittered(protocol.short_side, low), "short_side_jitter": int(low)}
        pixels = least.get(self.crop, protocol.crop)
        enough = f"which can leave a short side of {pixels} pixels, but the model takes {protocol.crop}"
        self._check("scale", pixels >= protocol.crop, enough)


# Short sides by the model's pixels; in between they are in proportion to those of 224.
_JITTERS = {224: (256, 320), 336: (384, 480), 448: (448, 512)}


def published_augmentation(recipe: str, family: str, dataset: str, *, crop: int, **overrides: Any) -> Augmentation:
    """Looks up what a model was trained with, see `recipes.published`.

    Data that nobody has published on are not flipped, since it is not known whether their classes say directions.

    Args:
        recipe: Its name.
        family: Of the model.
        dataset: Its name.
        crop: Pixels per side that the model takes.
        **overrides: Fields of `Augmentation` that take the place of the published ones.

    Raises:
        UserError: There is no such recipe.
    """
    found = published("clips", recipe, family, dataset)
    flip = {} if dataset in DATASETS else {"flip": False}
    scale = _JITTERS.get(crop) or tuple(round(side * crop / 224) for side in _JITTERS[224])
    jitter = {"scale": scale} if found.get("crop") == "short_side_jitter" else {}
    return Augmentation(**{**jitter, **found, **flip, **overrides})
