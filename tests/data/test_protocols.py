import pytest

from jax_vtm.data.protocols import DATASETS, PROTOCOLS, published_protocol
from jax_vtm.errors import UserError

# The models of the paper: frames per clip, at 224 pixels.
FRAMES = {"vivit": 32, "timesformer": 8, "motionformer": 16, "videomae": 16}
SLOWFAST = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def protocol(name, family, dataset, **overrides):
    return published_protocol(name, family, dataset, num_frames=FRAMES[family], crop=224, **overrides)


@pytest.mark.parametrize(
    ("family", "kinetics_rate", "epic_rate", "colours", "average"),
    [
        ("vivit", 2, 2, SLOWFAST, "logits"),
        ("timesformer", 32, 8, SLOWFAST, "logits"),
        ("motionformer", 4, 4, HALF, "softmax"),
        ("videomae", 1, 2, IMAGENET, "logits"),
    ],
)
def test_the_papers(family, kinetics_rate, epic_rate, colours, average):
    kinetics, ssv2, epic = (protocol("paper", family, name) for name in ("kinetics400", "ssv2", "epic_kitchens_100"))
    for each in (kinetics, ssv2, epic):
        assert (each.mean, each.std) == colours
        assert each.num_views == 1
        assert (each.resize, each.channels, each.pad, each.view_average) == ("slowfast", "rgb", "clamp", average)
        assert (each.num_frames, each.crop) == (FRAMES[family], 224)
    assert (kinetics.sampling, kinetics.stride, kinetics.rate_fps) == ("slowfast_paper", kinetics_rate, 30)
    assert (ssv2.sampling, ssv2.stride, ssv2.rate_fps) == ("slowfast_segments", None, None)
    assert (epic.sampling, epic.stride, epic.rate_fps) == ("slowfast_epic", epic_rate, 30)
    assert [each.short_side for each in (kinetics, ssv2, epic)] == [256, 224, 224]
    assert [each.single_crop for each in (kinetics, ssv2, epic)] == ["centre", "first", "centre"]


@pytest.mark.parametrize(
    ("family", "dataset", "clips", "crops", "sampling", "stride", "short_side", "colours", "channels", "average"),
    [
        ("vivit", "kinetics400", 4, 3, "scenic", 2, 256, HALF, "rgb", "logits"),
        ("vivit", "kinetics600", 4, 3, "scenic", 2, 256, HALF, "rgb", "logits"),
        ("vivit", "ssv2", 4, 3, "scenic", 1, 256, HALF, "rgb", "logits"),
        ("vivit", "epic_kitchens_100", 4, 1, "scenic", 1, 256, HALF, "rgb", "logits"),
        ("timesformer", "kinetics400", 1, 3, "slowfast", 32, 224, SLOWFAST, "rgb", "logits"),
        ("timesformer", "ssv2", 1, 3, "slowfast_segments", None, 224, SLOWFAST, "bgr", "logits"),
        ("motionformer", "kinetics400", 10, 3, "slowfast", 4, 224, HALF, "rgb", "softmax"),
        ("motionformer", "ssv2", 1, 3, "slowfast_segments", None, 224, HALF, "rgb", "softmax"),
        ("motionformer", "epic_kitchens_100", 10, 3, "slowfast_epic", 4, 224, HALF, "bgr", "softmax"),
        ("videomae", "kinetics400", 5, 3, "videomae", 4, 224, IMAGENET, "rgb", "softmax"),
        ("videomae", "ssv2", 2, 3, "videomae_segments", None, 224, IMAGENET, "rgb", "softmax"),
    ],
)
def test_the_authors(family, dataset, clips, crops, sampling, stride, short_side, colours, channels, average):
    found = protocol("standard", family, dataset)
    assert (found.num_clips, found.num_crops) == (clips, crops)
    assert (found.sampling, found.stride, found.short_side) == (sampling, stride, short_side)
    assert (found.mean, found.std, found.channels, found.view_average) == (*colours, channels, average)


@pytest.mark.parametrize("dataset", DATASETS)
def test_scenics_is_vivits_own(dataset):
    found = protocol("scenic", "vivit", dataset)
    assert found == protocol("standard", "vivit", dataset)
    assert found.fast_jpeg
    assert (found.resize, found.pad) == ("scenic", "loop")


def test_all_protocols_say_what_they_do():
    for name, families in PROTOCOLS.items():
        for family, datasets in families.items():
            assert set(datasets) <= set(DATASETS)
            for dataset in datasets:
                assert f"{FRAMES[family]} " in protocol(name, family, dataset).describe()


def test_larger_models_have_strides_of_their_own():
    hr = published_protocol("standard", "timesformer", "kinetics400", num_frames=16, crop=448)
    assert (hr.stride, hr.short_side, hr.crop) == (16, 448, 448)
    assert published_protocol("standard", "motionformer", "kinetics400", num_frames=32, crop=224).stride == 3
    with pytest.raises(UserError, match=r"no stride for 16 frames of 224 pixels, only 32 for 8 frames of 224 pixels"):
        published_protocol("standard", "timesformer", "kinetics400", num_frames=16, crop=224)
    given = published_protocol("standard", "timesformer", "kinetics400", num_frames=16, crop=224, stride=16)
    assert given.stride == 16
    assert published_protocol("paper", "vivit", "ssv2", num_frames=16, crop=224).num_frames == 16


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


@pytest.mark.parametrize(("dataset", "stride"), [("kinetics400", 8), ("kinetics600", 4)])
def test_motionformer_hr_takes_another_stride_for_each_kinetics(dataset, stride):
    assert published_protocol("standard", "motionformer", dataset, num_frames=16, crop=336).stride == stride
