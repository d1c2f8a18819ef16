"""The checkpoint that ships in the package does what the README says, on a part of the test clips."""

import jax
import numpy as np
import pytest

import jax_vtm
from jax_vtm.checkpoints import checkpoint_digest
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.config import load_config
from jax_vtm.data import moving_digits
from jax_vtm.evaluation import build, by_head
from jax_vtm.merging import no_reduction

EVERY = 4


@pytest.fixture(scope="module")
def config(request):
    return load_config(request.config.rootpath / "configs" / "moving_digits.py")


@pytest.fixture(scope="module")
def clips():
    """One clip of every fourth test image, rendered but not encoded."""
    images, nouns = moving_digits.digits(test=True)
    chosen = np.arange(0, len(nouns), EVERY)
    verbs = chosen // EVERY % len(moving_digits.VERBS)
    frames = [
        moving_digits.render(moving_digits.enlarged(images[i]), verb, np.random.default_rng((i, 0)))
        for i, verb in zip(chosen, verbs, strict=True)
    ]
    video = np.stack(frames).astype(np.float32) * np.float32(2 / 255) - 1
    return video, {"noun": nouns[chosen], "verb": verbs}


def predictions(config, reduction, video):
    model = build.model(config, reduction)
    variables = jax_vtm.load_checkpoint(config.checkpoint, model)
    logits = by_head(jax.jit(model.apply)(variables, video))
    return {head: np.argmax(values, axis=-1) for head, values in logits.items()}


def test_it_recognises_digits_and_directions_and_merging_changes_little(config, clips):
    video, labels = clips
    unmerged = predictions(config, no_reduction(), video)
    merged = predictions(config, build.reduction(config), video)
    for found in (unmerged, merged):
        assert np.mean(found["verb"] == labels["verb"]) >= 0.95
        assert np.mean(found["noun"] == labels["noun"]) >= 0.85
    same = np.mean([(unmerged[head] == merged[head]) for head in unmerged])
    assert same >= 0.95


def test_the_default_schedule_at_least_halves_the_arithmetic(config):
    merged, unmerged = build.model(config, build.reduction(config)), build.model(config, no_reduction())
    assert unmerged.tokens_per_layer[0] >= 500
    assert merged.macs.total <= 0.5 * unmerged.macs.total


def test_it_is_a_small_file_in_scenics_form(config):
    path = locate_checkpoint(config.checkpoint)
    assert path.stat().length < 5e6
    assert len(checkpoint_digest(config.checkpoint)) == 64


def test_another_name_is_answered_with_those_that_exist(config):
    with pytest.raises(jax_vtm.UserError, match=r"embedded:digits: no such checkpoint.*there is moving_digits"):
        jax_vtm.load_checkpoint("embedded:digits", build.model(config, no_reduction()))
