"""The builders of the data sets that the published models are evaluated on."""

from collections.abc import Mapping
from typing import ClassVar

from jax_vtm.data.tfds_builders.videos import Videos


class Kinetics400(Videos, skip_registration=True):
    """Clips of ten seconds of 400 human actions."""

    name = "kinetics400"
    DESCRIPTION: ClassVar[str] = "Kinetics-400: clips of about ten seconds, each of one of 400 human actions."
    HOMEPAGE: ClassVar[str | None] = "https://github.com/cvdfoundation/kinetics-dataset"
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {"label": 400}


class SomethingSomethingV2(Videos, skip_registration=True):
    """Short clips of 174 things that people do with objects."""

    name = "something_something_v2"
    DESCRIPTION: ClassVar[str] = "Something-Something V2: clips of 174 things that people do with everyday objects."
    HOMEPAGE: ClassVar[str | None] = "https://www.qualcomm.com/developer/software/something-something-v-2-dataset"
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {"label": 174}


class EpicKitchens100(Videos, skip_registration=True):
    """Segments of recordings in kitchens, with a verb and a noun."""

    name = "epic_kitchens_100"
    DESCRIPTION: ClassVar[str] = "EPIC-KITCHENS-100: actions in kitchens, each with one of 97 verbs and 300 nouns."
    HOMEPAGE: ClassVar[str | None] = "https://epic-kitchens.github.io"
    NUM_CLASSES: ClassVar[Mapping[str, int]] = {"noun": 300, "verb": 97}
