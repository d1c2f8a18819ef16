"""The search against all schedules there are, and the costs that it adds up against those of whole models."""

import itertools
import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jax_vtm import Reduction, create_model
from jax_vtm.calibration import cost
from jax_vtm.calibration.cost import Joint, Schedule, mac_cost
from jax_vtm.calibration.measure import loss_of
from jax_vtm.calibration.search import cheapest_within, grid_of, is_allowed, left_after, search, undominated
from jax_vtm.errors import UserError
from jax_vtm.merging import clamp_r, no_reduction
from jax_vtm.timing import Seconds

LAYERS = 3


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(0, 1), st.integers(1, 3), st.floats(0.05, 1.0))
def test_no_schedule_of_three_layers_is_better_than_what_is_found(seed, protected, num_starts, share):
    rng = np.random.default_rng(seed)
    grid = sorted({protected + int(n) for n in rng.integers(1, 13, 7)}, reverse=True)
    starts = {n: (float(rng.integers(0, 5)), float(rng.normal())) for n in grid[:num_starts]}
    pairs = [[(a, b) for b in grid] for a in grid]
    prices = {pair: float(rng.integers(1, 20)) for pair in itertools.product(grid, grid)}
    losses = rng.normal(size=(LAYERS, len(grid), len(grid)))
    losses[rng.random(losses.shape) < 0.1] = np.inf

    costs = np.array([[prices[pair] if is_allowed(*pair, protected) else np.inf for pair in row] for row in pairs])
    everything = []
    for tokens in itertools.product(starts, *[grid] * LAYERS):
        steps = [*itertools.pairwise(tokens)]
        if all(is_allowed(a, b, protected) for a, b in steps):
            price = starts[tokens[0]][0] + sum(map(prices.__getitem__, steps))
            places = [(grid.index(a), grid.index(b)) for a, b in steps]
            loss = starts[tokens[0]][1] + sum(losses[layer, a, b] for layer, (a, b) in enumerate(places))
            if np.isfinite(loss):
                everything.append((price, loss))
    found = search(grid, starts, np.stack([costs] * LAYERS), losses)
    assert len(found) == len({one.cost for one in found})
    if not everything:
        assert not found
        return
    budget = np.quantile([price for price, _ in everything], share)
    within = [(loss, price) for price, loss in everything if price <= budget]
    best = cheapest_within(found, budget)
    assert (best is None) == (not within)
    if best is not None:
        assert best.loss == pytest.approx(min(within)[0])
        assert best.cost <= budget
        own = starts[best.tokens[0]][0] + sum(map(prices.__getitem__, itertools.pairwise(best.tokens)))
        assert own == pytest.approx(best.cost)


def test_a_long_front_is_thinned_to_its_best_and_keeps_its_ends():
    costs = np.arange(10_000.0)
    labels = np.column_stack([costs, -costs, costs, costs])
    thinned = undominated(labels)
    assert 1000 < len(thinned) <= 2001
    assert thinned[0, 0] == 0
    assert thinned[-1, 0] == 9999


@hypothesis.given(st.integers(2, 5000), st.integers(0, 1))
def test_half_of_the_tokens_of_a_grid_is_on_it_and_is_all_that_a_layer_can_remove(tokens, protected):
    grid = grid_of(tokens, protected)
    assert grid[0] == tokens
    assert left_after(tokens, protected, 1) in grid
    for n in grid:
        half = n - clamp_r(n, n, protected)
        assert is_allowed(n, half, protected)
        assert not is_allowed(n, half - 1, protected)


FIELDS = {"num_frames": 4, "image_size": 32, "hidden_size": 16}
HEADS = {"num_heads": 2, "num_layers": 3, "mlp_dim": 24}
MODELS = {
    "vivit_moving_digits": {**FIELDS, **HEADS},
    "videomae_b_16": {**FIELDS, **HEADS, "num_classes": 5},
    "vivit_b_16x2_fe": {
        **FIELDS,
        "num_classes": 5,
        **{"spatial_layers": 3, "spatial_heads": 2, "spatial_mlp_dim": 24},
        **{"temporal_layers": 1, "temporal_heads": 2, "temporal_mlp_dim": 16},
        "patch_size": (2, 4, 4),
    },
}


@pytest.mark.parametrize("name", MODELS)
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=8)
def test_macs_of_layers_add_up_to_those_of_the_model(name, data):
    model = create_model(name, reduction=no_reduction(), **MODELS[name])
    joint = Joint.of(model, Reduction())
    counted = mac_cost(joint)
    places = joint.tokens if "fe" in name else int(np.prod(model.grid[1:])) + joint.protected
    tokens, stepwise = [data.draw(st.integers(places, joint.tokens))], data.draw(st.booleans())
    for layer in range(joint.layers):
        free = tokens[-1] - joint.protected
        tokens.append(tokens[-1] - data.draw(st.integers(0, free - 1 if stepwise and layer == 0 else free // 2)))
    schedule = Schedule(tuple(tokens), stepwise)
    reduced = model.clone(reduction=model.resolved(joint.reduced(schedule)))
    steps = joint.steps(*tokens[:2]) if stepwise else (tokens[1],)
    assert reduced.tokens_per_layer == (tokens[0], *steps, *tokens[2:])
    assert counted.of(schedule) == reduced.macs.total
    assert counted.unmerged == model.macs.total == counted.of(Schedule((joint.tokens,) * (joint.layers + 1)))


def test_timed_layers_cost_no_less_for_more_tokens(monkeypatch):
    monkeypatch.setattr(cost, "TIMED_SHARES", (1, 0.5))
    monkeypatch.setattr(cost, "LEAST_SECONDS", 0.0)
    model = create_model("vivit_moving_digits", reduction=no_reduction(), **FIELDS, **HEADS)
    joint = cost.Joint.of(model, Reduction())
    whole = (joint.tokens,) * (joint.layers + 1)
    found, rows = cost.latency_cost(joint, lambda reduction: lambda: time.sleep(0.02), clips=2)
    timed = {(row["entering"], row["removed"]) for row in rows.layers}
    assert timed == {(33, 0), (33, 1), (33, 16), (17, 0), (17, 1), (17, 8)}
    assert [row["tokens"][1] for row in rows.models] == [33, 17, 9, 5, 17]
    assert rows.models[-1]["tokens"] == [33, 17, 9, 5]
    assert found.of(cost.Schedule(whole)) == pytest.approx(found.unmerged)
    assert found.unmerged >= 10 * 0.9, "milliseconds of each of two clips"
    assert all(row["ms"] > 0 for row in rows.layers)
    assert found.layer(33, 33) >= found.layer(25, 25) >= found.layer(17, 17) >= 0
    assert found.stepwise(33, 33) == found.layer(33, 33)


def test_layers_that_are_slower_within_a_model_are_counted_as_such(monkeypatch):
    model = create_model("vivit_moving_digits", reduction=no_reduction(), **FIELDS, **HEADS)
    joint = cost.Joint.of(model, Reduction())
    # Seconds of a layer by itself, by the tokens that enter it; those of a model are three times as many, and 0.2.
    monkeypatch.setattr(cost, "_call", lambda block, joint, rows, free, r: lambda: 0.01 * free)
    monkeypatch.setattr(cost, "timed", lambda call: lambda times: Seconds(times * call(), times * call()))

    def whole(reduction):
        entering = model.clone(reduction=reduction).tokens_per_layer[-1 - joint.layers : -1]
        return lambda: 0.2 + 3 * sum(0.01 * (tokens - joint.protected) for tokens in entering)

    found, rows = cost.latency_cost(joint, whole, clips=2)
    for row in rows.models:
        assert row["fitted"] == pytest.approx(row["ms"])
    assert found.layer(33, 33) > found.layer(25, 25) > found.layer(17, 17) > 0
    tokens = (33, 25, 21, 17)
    assert found.of(Schedule(tokens)) == pytest.approx(500 * whole(joint.reduced(Schedule(tokens)))())
    assert found.of(Schedule((9, 9, 9, 9))) == pytest.approx(500 * (0.2 + 3 * 0.24))


def test_models_whose_layers_do_not_attend_to_all_tokens_are_refused():
    with pytest.raises(UserError, match="TimeSformer's do not"):
        Joint.of(create_model("timesformer_b_8", num_classes=4, reduction=no_reduction()), Reduction())


def test_losses_are_divergence_changed_predictions_and_what_labels_say():
    unmerged = {"label": np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))}
    merged = {"label": np.log(np.array([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]]))}
    loss = loss_of(unmerged, merged, {"label": np.array([0, 2])}, "logits")
    assert loss.divergence == pytest.approx((0.5 * np.log(2) - 0.25 * np.log(2)) / 2)
    assert loss.disagreement == loss.accuracy_loss == 0.5
    assert loss.cross_entropy == pytest.approx(np.log(2) / 2)
    assert loss_of(unmerged, merged, {}, "logits").searched("divergence") == pytest.approx(loss.divergence)
