"""Published protocols: every value stands in docs/protocols.md, whose tables are those of the code."""

from pathlib import Path
from typing import get_args

import protocol_page
import pytest

from jax_vtm.data import published_protocol
from jax_vtm.data.protocol import Sampling
from jax_vtm.data.protocols import DATASETS, PROTOCOLS
from jax_vtm.data.spatial import GEOMETRIES
from jax_vtm.errors import UserError

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()


def protocol(name, family, dataset, **overrides):
    # The models of the paper: frames per clip, at 224 pixels.
    _, frames = protocol_page.MODELS[family]
    return published_protocol(name, family, dataset, **{"num_frames": frames, "crop": 224, **overrides})


def test_the_page_has_the_tables_of_the_code():
    for table in (protocol_page.table(), protocol_page.strides()):
        assert table in PAGE, f"docs/protocols.md: replace the table by\n{table}"
    for name in PROTOCOLS:
        assert f"\n| `{name}` | " in PAGE
    for name in (*get_args(Sampling), *GEOMETRIES):
        assert f"\n| {name} | " in PAGE


def test_every_protocol_has_its_row():
    rows = protocol_page.table().splitlines()[2:]
    for name, families in PROTOCOLS.items():
        for family, datasets in families.items():
            model, frames = protocol_page.MODELS[family]
            own = [row for row in rows if row.startswith(f"| `{name}` | {model} |")]
            assert set(datasets) <= set(DATASETS)
            for dataset in datasets:
                assert sum(protocol_page.DATASETS[dataset] in row for row in own) == 1
                assert f"{frames} " in protocol(name, family, dataset).describe()


@pytest.mark.parametrize("dataset", DATASETS)
def test_scenics_is_vivits_own(dataset):
    found = protocol("scenic", "vivit", dataset)
    assert found == protocol("standard", "vivit", dataset)
    assert (found.resize, found.pad, found.fast_jpeg) == ("scenic", "loop", True)


def test_larger_models_have_strides_of_their_own():
    hr = protocol("standard", "timesformer", "kinetics400", num_frames=16, crop=448)
    assert (hr.stride, hr.short_side, hr.crop) == (16, 448, 448)
    assert protocol("standard", "motionformer", "kinetics400", num_frames=32).stride == 3
    for dataset, stride in (("kinetics400", 8), ("kinetics600", 4)):
        assert protocol("standard", "motionformer", dataset, crop=336).stride == stride
    with pytest.raises(UserError, match=r"no stride for 16 frames of 224 pixels, only 32 for 8 frames of 224 pixels"):
        protocol("standard", "timesformer", "kinetics400", num_frames=16)
    assert protocol("standard", "timesformer", "kinetics400", num_frames=16, stride=16).stride == 16
    assert protocol("paper", "vivit", "ssv2", num_frames=16).num_frames == 16


def test_single_values_can_be_given():
    found = protocol("paper", "vivit", "kinetics400", num_crops=3, view_average="max", rate_fps=25.0)
    assert (found.num_crops, found.view_average, found.rate_fps, found.sampling) == (3, "max", 25.0, "slowfast_paper")


@pytest.mark.parametrize(
    ("name", "family", "dataset"),
    [
        ("papers", "vivit", "kinetics400"),
        ("scenic", "videomae", "kinetics400"),
        ("standard", "timesformer", "epic_kitchens_100"),
        ("standard", "vivit", "moving_digits"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(name, family, dataset):
    with pytest.raises(UserError, match="there is no protocol") as raised:
        protocol(name, family, dataset)
    for known, families in PROTOCOLS.items():
        if family in families:
            assert f"{known!r} for {', '.join(families[family])}" in str(raised.value)
