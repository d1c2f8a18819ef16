import concurrent.futures
import itertools
import threading
import time

import jax
import numpy as np
import pytest

from jax_vtm.data import Batch
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Variant, concatenate, evaluate
from jax_vtm.evaluation.data_parallel import BACKENDS, DataParallel
from jax_vtm.merging import Reduction


@pytest.fixture(scope="module")
def variants(tiny_model, tiny_params):
    return [
        Variant("unmerged", tiny_model(mode="none"), tiny_params),
        Variant("merge r=8", tiny_model(r=8), tiny_params),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 7, 8, 9, 63])
def test_one_device_and_eight_give_the_same_predictions(variants, videos, count, backend):
    one = evaluate(variants, videos(count, 4), parallel=DataParallel(devices=jax.devices()[:1]))
    eight = evaluate(variants, videos(count, 8), parallel=DataParallel(backend))
    assert len(jax.devices()) == 8
    assert one.ids == eight.ids == [f"video{i}" for i in range(count)]
    for variant in variants:
        alone, together = one.predictions[variant.name], eight.predictions[variant.name]
        for head in ("noun", "verb"):
            assert alone.logits[head].shape[:2] == (count, 2)
            np.testing.assert_allclose(alone.logits[head], together.logits[head], atol=1e-5)


class Echo:
    """A model whose logits are the pixels."""

    heads = ((None, 6),)
    reduction = Reduction(mode="none")

    def apply(self, variables, video, rngs=None):
        return video.reshape(len(video), -1) + variables["params"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_and_spreading_over_devices_are_scenics(golden, backend):
    recorded = dict(np.load(golden / "scenic" / "eval" / "padding.npz"))
    rows, mask = recorded["padded/inputs"], recorded["padded/batch_mask"] > 0
    # Scenic repeats a video's label for each of its 12 views.
    np.testing.assert_array_equal(np.repeat(recorded["in/label"], 12, axis=0), recorded["tiled/label"])
    batch = Batch(
        frames=rows.reshape(48, 1, 1, 1, 2, 3),
        mask=mask,
        labels={"label": np.argmax(recorded["padded/label"], axis=-1).astype(np.int32)},
        ids=tuple(map(str, range(48))),
        indices=np.where(mask, np.arange(48), -1).astype(np.int32),
        failures=(),
    )
    seen = []

    class Spread(Echo):
        def apply(self, variables, video, rngs=None):
            jax.debug.callback(lambda values: seen.append(np.asarray(values)), video)
            return super().apply(variables, video, rngs)

    unchanged = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
    variant = Variant("echo", Spread(), np.zeros(()))
    outcome = evaluate([variant], [batch], parallel=DataParallel(backend, jax.devices()[:2]), **unchanged)
    jax.effects_barrier()
    found = {values.tobytes() for values in seen}
    assert found == {part.reshape(24, 1, 1, 2, 3).tobytes() for part in recorded["sharded2/inputs"]}
    np.testing.assert_array_equal(outcome.predictions["echo"].logits["label"].reshape(36, 2, 3), recorded["in/inputs"])
    assert len(outcome.ids) == 36


def test_failed_videos_are_named_and_not_counted(variants, videos):
    outcome = evaluate(variants, videos(9, 8, failing=(0, 5)))
    assert [failure.id for failure in outcome.failures] == ["video0", "video5"]
    assert "video0" not in outcome.ids
    assert len(outcome.predictions["unmerged"].logits["noun"]) == len(outcome.ids) == 7
    whole = evaluate(variants, videos(9, 8))
    kept = [i for i in range(9) if i not in (0, 5)]
    np.testing.assert_allclose(
        outcome.predictions["unmerged"].logits["noun"], whole.predictions["unmerged"].logits["noun"][kept], atol=1e-5
    )


def test_random_reductions_depend_on_the_video_and_the_seed_alone(tiny_model, tiny_params, videos):
    variant = [Variant("random", tiny_model(mode="random_merge", r=8), tiny_params)]

    def logits(seed: int, batch_size: int, devices: int) -> np.ndarray:
        outcome = evaluate(
            variant, videos(9, batch_size), random_seed=seed, parallel=DataParallel(devices=jax.devices()[:devices])
        )
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
    variants = [Variant("a", model, tiny_params)]
    evaluate(variants, videos(9, 8))
    evaluate([Variant("b", tiny_model(r=5), tiny_params)], videos(17, 8))
    assert len(traces) == 1
    evaluate([Variant("c", tiny_model(r=6), tiny_params)], videos(9, 8))
    assert len(traces) == 2


def test_a_batch_that_does_not_divide_and_a_label_out_of_range_are_errors(variants, videos):
    with pytest.raises(UserError, match="batch of 4 videos does not divide over 8 devices"):
        evaluate(variants, videos(4, 4))
    batch = videos(8, 8)[0]
    batch.labels["noun"][3] = 5
    with pytest.raises(UserError, match="video3: the label 5 of 'noun' is not a class of the model, which has 0 to 4"):
        evaluate(variants, [batch])


def test_unlabelled_videos_are_predicted(variants, videos):
    batches = [type(batch)(**{**vars(batch), "labels": {}}) for batch in videos(9, 8)]
    outcome = evaluate(variants, batches)
    assert outcome.labels == {}
    assert outcome.predictions["unmerged"].logits["verb"].shape == (9, 2, 3)


def test_in_two_goes_as_in_one(variants, videos):
    parts = []
    whole = evaluate(variants, videos(21, 8, failing=(3, 17)), on_batch=parts.append)
    assert [(part.indices.tolist(), sorted(part.failures)) for part in parts] == [
        ([0, 1, 2, 4, 5, 6, 7], [3]),
        ([8, 9, 10, 11, 12, 13, 14, 15], []),
        ([16, 18, 19, 20], [17]),
    ]
    again = []
    evaluate(variants, videos(21, 8, failing=(3, 17))[2:], on_batch=again.append)
    both = concatenate([variant.name for variant in variants], [*parts[:2], *again])
    assert both.ids == whole.ids
    assert both.indices.tolist() == whole.indices.tolist()
    assert both.failures == whole.failures
    for name, prediction in whole.predictions.items():
        assert len(both.predictions[name].step_s) == len(prediction.step_s) == 3
        for head in prediction.logits:
            np.testing.assert_array_equal(both.predictions[name].logits[head], prediction.logits[head])


def test_a_batch_of_failures_alone_takes_no_step(variants, videos):
    outcome = evaluate(variants, videos(17, 8, failing=tuple(range(8, 16))))
    assert len(outcome.predictions["unmerged"].step_s) == 2
    assert len(outcome.failures) == 8
    nothing = evaluate(variants, videos(8, 8, failing=tuple(range(8))))
    assert (nothing.ids, nothing.batch_size, len(nothing.failures)) == ([], 0, 8)
    assert nothing.predictions["unmerged"].logits == {}


def test_waiting_for_data_is_measured(variants, videos):
    evaluate(variants, videos(8, 8))  # compiles

    def slow():
        for batch in videos(24, 8):
            time.sleep(0.2)
            yield batch

    outcome = evaluate(variants, slow())
    assert 0.4 < outcome.data_wait_s < outcome.wall_s
    assert outcome.device_wait_share > 0.3
    assert evaluate(variants, videos(24, 8)).device_wait_share < outcome.device_wait_share


class Later:
    """What a step of a stand-in returns: zeros, once they are there."""

    def __init__(self, future, shape):
        self.future, self.shape = future, shape

    def block_until_ready(self):
        self.future.result()
        return self

    def __array__(self, dtype=None, copy=None):
        assert self.future.done()
        return np.zeros(self.shape, np.float32)


class StandIn(DataParallel):
    """A device whose steps sleep for 50 ms, one after the other; it notes when each was given, began and ended."""

    def __init__(self, steps_in_flight: int, failing: int | None = None):
        super().__init__(devices=jax.devices()[:1])
        self.steps_in_flight, self._failing = steps_in_flight, failing
        self._queue = concurrent.futures.ThreadPoolExecutor(1)
        self.given: list[float] = []
        self.ran: list[tuple[float, float]] = []
        self.most = 0

    def compiled(self, step):
        return self

    def compiled_for(self, arguments):
        return self

    def __call__(self, params, frames, indices):
        self.given.append(time.perf_counter())
        self.most = max(self.most, len(self.given) - len(self.ran))
        return {"label": Later(self._queue.submit(self._run, len(self.given)), (*frames.shape[:3], 6))}

    def _run(self, number):
        if number == self._failing:
            raise RuntimeError("the device has gone")
        began = time.perf_counter()
        time.sleep(0.05)
        self.ran.append((began, time.perf_counter()))

    @property
    def idle_share(self) -> float:
        """Of the time from the first of the timed steps on, that between the end of one and the start of the next."""
        ran = self.ran[1:]
        idle = sum(after[0] - before[1] for before, after in itertools.pairwise(ran))
        return idle / (ran[-1][1] - ran[0][0])


@pytest.mark.parametrize(("steps_in_flight", "least", "most"), [(1, 0.2, 1.0), (2, 0.0, 0.03)])
def test_a_device_that_takes_steps_ahead_is_busy_while_results_are_counted(videos, steps_in_flight, least, most):
    device, counted = StandIn(steps_in_flight), []

    def count(result):
        time.sleep(0.02)
        counted.append((result.indices.tolist(), result.step_s["echo"], len(device.given)))

    outcome = evaluate([Variant("echo", Echo(), np.zeros(()))], videos(16 * 4, 4)[:16], parallel=device, on_batch=count)
    assert least <= device.idle_share <= most
    assert device.most == steps_in_flight
    # Every batch, in order; when it is counted, the device has the next step already. The first call was compiling.
    assert [indices for indices, *_ in counted] == [[4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3] for n in range(16)]
    assert [given - 1 for *_, given in counted] == [min(n + steps_in_flight, 16) for n in range(16)]
    busy = sum(ended - began for began, ended in device.ran[1:])
    assert sum(outcome.predictions["echo"].step_s) == pytest.approx(busy, rel=0.05)


def test_results_before_a_step_that_fails_are_kept(videos):
    device, kept = StandIn(2, failing=5), []
    with pytest.raises(RuntimeError, match="the device has gone"):
        evaluate([Variant("echo", Echo(), np.zeros(()))], videos(32, 4), parallel=device, on_batch=kept.append)
    assert [result.indices[0] for result in kept] == [0, 4, 8]


def test_what_ended_is_counted_while_the_next_batch_is_still_read(videos):
    counted = threading.Event()

    def slow():
        yield from videos(8, 4)
        assert counted.wait(30)
        yield from videos(12, 4)[2:]

    def count(result):
        if result.indices[0] == 4:
            counted.set()

    outcome = evaluate([Variant("echo", Echo(), np.zeros(()))], slow(), parallel=StandIn(2), on_batch=count)
    assert len(outcome.ids) == 12


def test_the_next_batch_is_copied_during_a_step(variants, videos, monkeypatch):
    copied = [threading.Event() for _ in range(3)]
    shard, threads, outcomes = DataParallel.shard, [], []

    class Observed(Echo):
        def apply(self, variables, video, rngs=None):
            # No step ends before the next batch is there.
            jax.debug.callback(lambda: assert_copied(), ordered=False)
            return super().apply(variables, video, rngs)

    def assert_copied():
        assert copied[min(len(outcomes) + 1, 2)].wait(30)

    def observed_shard(self, tree):
        result = shard(self, tree)
        copied[len(threads)].set()
        threads.append(threading.current_thread())
        return result

    monkeypatch.setattr(DataParallel, "shard", observed_shard)
    one = DataParallel(devices=jax.devices()[:1])
    evaluate([Variant("echo", Observed(), np.zeros(()))], videos(24, 8), parallel=one, on_batch=outcomes.append)
    assert len(outcomes) == 3
    assert threading.main_thread() not in threads


def test_what_goes_wrong_while_loading_is_raised_and_ends_the_loading(variants, videos):
    closed = []

    def failing():
        try:
            yield videos(8, 8)[0]
            raise MemoryError("no room")
        finally:
            closed.append(True)

    with pytest.raises(MemoryError, match="no room"):
        evaluate(variants, failing())
    assert closed

    def endless():
        try:
            while True:
                yield videos(8, 8)[0]
        finally:
            closed.append(True)

    def stop(part):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(variants, endless(), on_batch=stop)
    assert len(closed) == 2


@pytest.mark.parametrize("mode", ["merge", "random_merge"])
@pytest.mark.parametrize("clips_at_once", [1, 3, 4])
def test_clips_that_go_through_in_groups_give_the_same(tiny_model, tiny_params, videos, mode, clips_at_once):
    variant = [Variant("merged", tiny_model(mode=mode, r=8), tiny_params)]
    whole = evaluate(variant, videos(8, 4), parallel=DataParallel(devices=jax.devices()[:2]))
    parts = evaluate(
        variant, videos(8, 4), parallel=DataParallel(devices=jax.devices()[:2]), clips_at_once=clips_at_once
    )
    np.testing.assert_allclose(
        whole.predictions["merged"].logits["noun"], parts.predictions["merged"].logits["noun"], atol=1e-5
    )
