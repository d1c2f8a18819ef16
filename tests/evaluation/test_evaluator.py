import jax
import numpy as np
import pytest

from jax_vtm.errors import UserError
from jax_vtm.evaluation import Candidate, correct_predictions, evaluate


@pytest.fixture(scope="module")
def candidates(tiny_model, tiny_params):
    return [
        Candidate("unmerged", tiny_model(mode="none"), tiny_params),
        Candidate("merge r=8", tiny_model(r=8), tiny_params),
    ]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 19])
def test_one_device_and_eight_give_the_same_counts_and_predictions(candidates, videos, count):
    one = evaluate(candidates, videos(count, 4), devices=jax.devices()[:1])
    eight = evaluate(candidates, videos(count, 8), devices=jax.devices())
    assert len(jax.devices()) == 8
    assert one.ids == eight.ids == [f"video{i}" for i in range(count)]
    for candidate in candidates:
        alone, together = one.predictions[candidate.name], eight.predictions[candidate.name]
        assert alone.counts == together.counts
        assert alone.counts["videos"] == count
        for head in ("noun", "verb"):
            assert alone.logits[head].shape[:2] == (count, 2)
            np.testing.assert_allclose(alone.logits[head], together.logits[head], atol=1e-5)


def test_the_devices_counts_are_those_of_the_predictions(candidates, videos):
    outcome = evaluate(candidates, videos(21, 8))
    for candidate in candidates:
        prediction = outcome.predictions[candidate.name]
        logits = {head: values.mean(axis=1) for head, values in prediction.logits.items()}
        right = correct_predictions(logits, outcome.labels)
        counted = {name: int(values.sum()) for name, values in right.items()}
        assert {name: value for name, value in prediction.counts.items() if name != "videos"} == counted
        assert counted["noun/top1"] not in (0, 21), "the counts would agree for a trivial reason"


def test_failed_videos_are_named_and_not_counted(candidates, videos):
    outcome = evaluate(candidates, videos(9, 8, failing=(0, 5)))
    assert [failure.id for failure in outcome.failures] == ["video0", "video5"]
    assert "video0" not in outcome.ids
    assert outcome.predictions["unmerged"].counts["videos"] == len(outcome.ids) == 7
    whole = evaluate(candidates, videos(9, 8))
    kept = [i for i in range(9) if i not in (0, 5)]
    np.testing.assert_allclose(
        outcome.predictions["unmerged"].logits["noun"], whole.predictions["unmerged"].logits["noun"][kept], atol=1e-5
    )


def test_random_reductions_depend_on_the_video_and_the_seed_alone(tiny_model, tiny_params, videos):
    candidate = [Candidate("random", tiny_model(mode="random_merge", r=8), tiny_params)]

    def logits(seed: int, batch_size: int, devices: int) -> np.ndarray:
        outcome = evaluate(candidate, videos(9, batch_size), random_seed=seed, devices=jax.devices()[:devices])
        return outcome.predictions["random"].logits["noun"]

    first = logits(0, 4, 1)
    np.testing.assert_allclose(first, logits(0, 8, 8), atol=1e-5)
    assert np.abs(first - logits(1, 4, 1)).max() > 1e-3
    # Two views of a video are reduced by different draws, and so are two videos.
    assert np.abs(first[:, 0] - first[:, 1]).min() > 0


def test_the_same_schedule_is_traced_once(tiny_model, tiny_params, videos, monkeypatch):
    model = tiny_model(r=5)
    traces = []
    embed = type(model).embed

    def counted(self, video):
        traces.append(video.shape)
        return embed(self, video)

    monkeypatch.setattr(type(model), "embed", counted)
    candidates = [Candidate("a", model, tiny_params)]
    evaluate(candidates, videos(9, 8))
    evaluate([Candidate("b", tiny_model(r=5), tiny_params)], videos(17, 8))
    assert len(traces) == 1
    evaluate([Candidate("c", tiny_model(r=6), tiny_params)], videos(9, 8))
    assert len(traces) == 2


def test_a_batch_that_does_not_divide_and_a_label_out_of_range_are_errors(candidates, videos):
    with pytest.raises(UserError, match="batch of 4 videos does not divide over 8 devices"):
        evaluate(candidates, videos(4, 4))
    batch = videos(8, 8)[0]
    batch.labels["noun"][3] = 5
    with pytest.raises(UserError, match="video3: the label 5 of 'noun' is not a class of the model, which has 0 to 4"):
        evaluate(candidates, [batch])


def test_unlabelled_videos_are_predicted(candidates, videos):
    batches = [type(batch)(**{**vars(batch), "labels": {}}) for batch in videos(9, 8)]
    outcome = evaluate(candidates, batches)
    assert outcome.labels == {}
    assert outcome.predictions["unmerged"].counts == {"videos": 9}
    assert outcome.predictions["unmerged"].logits["verb"].shape == (9, 2, 3)
