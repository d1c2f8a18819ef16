"""From clips to schedules: sensitivities, a search by them, and rounds of measuring around what was found."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jax_vtm.calibration.cost import STEP, Cost, Joint, Schedule
from jax_vtm.calibration.measure import Clips, Loss
from jax_vtm.calibration.search import Found, cheapest_within, grid_of, is_allowed, left_after, search
from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, expand_r, plan

# Of the tokens that one layer alone leaves, as octaves below those that enter: in steps of `STEP`, and in one step, of
# which a whole octave is all that a layer can do. The last few tokens of these are those that resemble no other, so
# that the largest step can cost much more than one that is a little smaller.
GENTLE = (1, 2, 3)
ONE_STEP = (11 / 12, 1)

# What the search by single layers found is called.
BY_LAYERS = "by single layers"

# How far a round looks around a schedule.
FACTORS = (2**-0.25, 2**0.25)

# Numbers of tokens that are tried in each place of a schedule, between its neighbours; budgets tried for a tolerance.
BETWEEN, BUDGETS = 7, 9


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A schedule for one budget.

    Attributes:
        budget: Share of the unmerged cost.
        schedule: The best one that was measured.
        first: What the search by single layers found, with its predicted loss.
        others: By name, what the search by single layers found, if it is another schedule, and constant and linear
            ones within the same budget.
    """

    budget: float
    schedule: Schedule
    first: Found
    others: Mapping[str, Schedule]


class Calibration:
    """A model, its costs, and clips to measure on.

    Args:
        joint: The layers.
        cost: What schedules cost.
        clips: On which they are measured.
        by: What is made small: "divergence" or "accuracy".
        with_input: Whether fewer patches before the first layer are searched too.
        stepwise: Whether the first layer removes its tokens in steps.
    """

    def __init__(self, joint: Joint, cost: Cost, clips: Clips, by: str, *, with_input: bool, stepwise: bool):
        self.joint, self.cost, self.clips, self.by = joint, cost, clips, by
        self.with_input, self.stepwise = with_input, stepwise
        kept = joint.reduction.input
        self.entering = joint.tokens if kept is None or with_input else joint.protected + kept.keep
        self.grid = grid_of(self.entering, joint.protected)
        places = math.prod(joint.model.grid[1:]) + joint.protected
        self.starts = [n for n in self.grid if n >= places] if with_input else [self.entering]
        self.sensitivity: dict[tuple[str, int, int], Loss] = {}
        self.measured: dict[Schedule, Loss] = {}

    def share(self, schedule: Schedule) -> float:
        """The cost of a schedule, as a share of the unmerged cost."""
        return self.cost.of(schedule) / self.cost.unmerged

    def measure_layers(self) -> None:
        """Measures what is lost where one layer alone removes tokens, or the input alone has fewer patches."""
        asked: dict[tuple[str, int, int], Reduction] = {}
        for layer in range(self.joint.layers):
            for octaves in GENTLE:
                n = self._leaving(octaves)
                asked["in steps", layer, n] = self._alone(layer, self.joint.steps(self.entering, n))
            for n in map(self._leaving, ONE_STEP):
                asked["in one step", layer, n] = self._alone(layer, (n,))
        kept = [n for n in (self.entering, *map(self._leaving, GENTLE)) if n in self.starts]
        found = self.clips.measure([*asked.values()], "one layer at a time")
        fewer = self.clips.measure([self._only_input(n) for n in kept], "fewer patches alone")
        self.sensitivity = dict(zip([*asked, *(("input", 0, n) for n in kept)], [*found, *fewer], strict=True))

    def _leaving(self, octaves: float) -> int:
        return left_after(self.entering, self.joint.protected, octaves)

    def _only_input(self, entering: int) -> Reduction:
        return self.joint.reduced(Schedule((entering,) * (self.joint.layers + 1)))

    def _alone(self, layer: int, leaving: Sequence[int]) -> Reduction:
        """Removes tokens in one layer, so many at a time."""
        steps = tuple(a - b for a, b in itertools.pairwise((self.entering, *leaving)))
        repeat = (layer, len(steps)) if len(steps) > 1 else None
        return dataclasses.replace(self._only_input(self.entering), r=(0,) * layer + steps, repeat_layer=repeat)

    def _lost(self, how: str, layer: int) -> dict[int, float]:
        """Returns what was measured, by the tokens left; of all tokens, what the input alone lost."""
        start = {self.entering: self.sensitivity["input", 0, self.entering].searched(self.by)}
        return start | {
            n: loss.searched(self.by)
            for (kind, place, n), loss in self.sensitivity.items()
            if (kind, place) == (how, layer)
        }

    def _curve(self, how: str, layer: int) -> Float[np.ndarray, " G"]:
        """Returns the loss of a layer, or of the input, alone on the grid; it never falls as more tokens go.

        Below the fewest tokens that were measured it is taken to grow, every octave, by as much as in the last one.
        """
        known = self._lost(how, layer)
        counts = sorted(known, reverse=True)
        values = np.maximum.accumulate([known[n] for n in counts])
        if len(counts) > 2 and self.grid[-1] < counts[-1]:
            growth = values[-1] / values[-2] if values[-2] > 0 else 1.0
            octaves = math.log2(counts[-1] / self.grid[-1])
            counts, values = [*counts, self.grid[-1]], np.append(values, values[-1] * growth**octaves)
        return np.interp(-np.log2(self.grid), -np.log2(counts), values)

    def _predicted_losses(self) -> tuple[dict[int, tuple[float, float]], Float[np.ndarray, "L G G"]]:
        """Returns what the search adds up: cost and loss of every start, and the loss of every step of every layer.

        A layer that takes a tokens and leaves b is predicted to lose the rise of its curve in steps from a to b, and
        for a large step as much more as such a step lost where all tokens entered.
        """
        free = np.array(self.grid) - self.joint.protected
        octaves = np.log2(free[:, None] / free)
        losses = []
        for layer in range(self.joint.layers):
            gentle = self._curve("in steps", layer)
            lost = self._lost("in one step", layer)
            more = [lost[n] - gentle[self.grid.index(n)] for n in map(self._leaving, ONE_STEP)]
            large = np.interp(octaves, (STEP, *ONE_STEP), np.maximum.accumulate([0.0, *more]))
            losses.append(gentle - gentle[:, None] + (0 if self.stepwise and layer == 0 else large))
        own = self._curve("input", 0) - self._curve("in steps", 0)
        starts = {n: (self.cost.outside(n), float(own[self.grid.index(n)])) for n in self.starts}
        return starts, np.stack(losses)

    def choose(self, budgets: Sequence[float], rounds: int, tolerance: float = 0.0) -> list[Chosen]:
        """Finds the schedule of least loss for every budget, a share of the unmerged cost.

        Args:
            budgets: In place of which a tolerance can be given.
            rounds: Of measuring around what was found.
            tolerance: Share of clips whose prediction may change, or that accuracy may fall by; the result is then one
                schedule, the cheapest of those measured that loses no more on the calibration clips.

        Raises:
            UserError: A budget or a tolerance that no schedule meets.
        """
        starts, losses = self._predicted_losses()
        found = search(self.grid, starts, self._costs(self.grid), losses)
        least = found[0].cost / self.cost.unmerged
        if tolerance:
            budgets = [self._budget_of(tolerance, found)]
        if unmet := [one for one in budgets if one < least]:
            raise UserError(
                f"config.calibrate.budget is {min(unmet)}; the cheapest schedule costs {least:.3f} of the unmerged "
                "model. Give more, or let the search do more: --config.calibrate.steps=True or "
                "--config.calibrate.input=True."
            )
        firsts = [self._within(found, budget) for budget in budgets]
        plain = [self._plain_schedules(budget) for budget in budgets]
        known = [one for of_budget in plain for one in of_budget.values()]
        self._measure([*known, *map(self._schedule, firsts)], "first schedules")
        for number in range(rounds):
            self._look_around(budgets, f"round {number + 1} of {rounds}")
        chosen = []
        for budget, first, others in zip(budgets, firsts, plain, strict=True):
            best = self._cheapest(tolerance) if tolerance else self._best(budget)
            own = self._schedule(first)
            chosen.append(Chosen(budget, best, first, ({BY_LAYERS: own} if own != best else {}) | others))
        return chosen

    def _schedule(self, found: Found) -> Schedule:
        return Schedule(found.tokens, self.stepwise)

    def _costs(self, grid: Sequence[int]) -> Float[np.ndarray, "L G G"]:
        """Returns what every layer costs for the tokens of a grid that enter and leave it; infinite if they cannot."""
        costs = np.full((self.joint.layers, len(grid), len(grid)), np.inf)
        for (a, entering), (b, leaving) in itertools.product(enumerate(grid), enumerate(grid)):
            if is_allowed(entering, leaving, self.joint.protected):
                costs[:, a, b] = self.cost.layer(entering, leaving)
            if self.stepwise and leaving <= entering:
                costs[0, a, b] = self.cost.stepwise(entering, leaving)
        return costs

    def _within(self, found: Sequence[Found], budget: float) -> Found:
        one = cheapest_within(found, budget * self.cost.unmerged)
        assert one is not None
        return one

    def _budget_of(self, tolerance: float, found: Sequence[Found]) -> float:
        """Returns the lowest of some budgets whose schedule, as found by single layers, is within a tolerance."""
        least = found[0].cost / self.cost.unmerged
        budgets = np.geomspace(1.0, least * (1 + 1e-9), BUDGETS).tolist()
        firsts = [self._schedule(self._within(found, budget)) for budget in budgets]
        self._measure(firsts, "schedules of several costs")
        return self.share(self._cheapest(tolerance))

    def _measure(self, schedules: Sequence[Schedule], what: str) -> None:
        losses = self.clips.measure([self.joint.reduced(one) for one in schedules], what)
        self.measured.update(zip(schedules, losses, strict=True))

    def _best(self, budget: float) -> Schedule:
        """Returns the schedule within a budget that lost least of all measured ones; the cheaper of equals."""
        within = [(self.measured[one].searched(self.by), self.share(one), one) for one in self.measured]
        return min(entry for entry in within if entry[1] <= budget)[2]

    def _cheapest(self, tolerance: float) -> Schedule:
        """Returns the cheapest schedule within a tolerance of all measured ones."""
        within = [one for one, loss in self.measured.items() if loss.tolerated(self.by) <= tolerance]
        if not within:
            least = min(loss.tolerated(self.by) for loss in self.measured.values())
            raise UserError(
                f"config.calibrate.tolerance is {tolerance}; of the schedules measured, the best loses {least:.4f}."
            )
        return min(within, key=lambda one: (self.share(one), one))

    def _plain_schedules(self, budget: float) -> dict[str, Schedule]:
        """Returns the constant, decreasing and increasing schedules that cost most within a budget, if any does."""
        found = {}
        for name, inflection in (("constant", 0.0), ("decreasing", -1.0), ("increasing", 1.0)):
            for r in range(self.entering):
                amounts = expand_r(r, self.joint.layers, inflection)
                one = Schedule(plan(self.entering, amounts, self.joint.protected))
                if self.share(one) <= budget:
                    found[name] = one
                    break
        return found

    def _look_around(self, budgets: Sequence[float], what: str) -> None:
        """Measures neighbours of each budget's best schedule, then the schedules that they predict to be better."""
        bases = [self._best(budget) for budget in budgets]
        around = [self._neighbours(base) for base in bases]
        self._measure([one for of_base in around for _, one in of_base], f"{what}: neighbours")
        better = map(self._better, bases, around, budgets)
        self._measure([one for one in better if one], f"{what}: found by them")

    def _neighbours(self, base: Schedule) -> list[tuple[int, Schedule]]:
        """Returns schedules that have more or fewer tokens in one place, and as far as need be in others."""
        places = range(0 if self.with_input else 1, len(base.tokens))
        moved = [(place, self._moved(base, place, factor)) for place in places for factor in FACTORS]
        return [(place, one) for place, one in moved if one.tokens != base.tokens and one.tokens[0] in self._range]

    @property
    def _range(self) -> range:
        return range(min(self.starts), max(self.starts) + 1)

    def _moved(self, base: Schedule, place: int, factor: float) -> Schedule:
        protected, moved = self.joint.protected, [*base.tokens]
        moved[place] = max(protected + 1, protected + round((moved[place] - protected) * factor))
        if place == 0:
            moved[0] = min(max(moved[0], self._range[0]), self._range[-1])
        for later in range(place + 1, len(moved)):
            entering = moved[later - 1]
            halved = entering - (entering - protected) // 2
            least = 0 if base.stepwise and later == 1 else halved
            moved[later] = min(max(moved[later], least), entering)
        for earlier in reversed(range(place)):
            leaving = moved[earlier + 1]
            most = moved[0] if base.stepwise and earlier == 0 else protected + 2 * (leaving - protected)
            moved[earlier] = max(min(moved[earlier], most), leaving)
        return Schedule(tuple(moved), base.stepwise)

    def _better(self, base: Schedule, around: Sequence[tuple[int, Schedule]], budget: float) -> Schedule | None:
        """Searches between a schedule and its neighbours, as if what each loses more or less added up."""
        known = [{n: 0.0} for n in base.tokens]
        for place, one in around:
            change = self.measured[one].searched(self.by) - self.measured[base].searched(self.by)
            known[place].setdefault(one.tokens[place], change)
        values = [{*map(round, np.geomspace(min(n), max(n), BETWEEN)), *n} for n in known]
        grid = sorted(set().union(*values))
        losses = np.full((len(base.tokens), len(grid)), np.inf)
        for place, of_place in enumerate(known):
            counts = sorted(of_place)
            for number, n in enumerate(grid):
                if n in values[place]:
                    losses[place, number] = np.interp(np.log(n), np.log(counts), [of_place[one] for one in counts])
        starts = {n: (self.cost.outside(n), float(losses[0, grid.index(n)])) for n in sorted(values[0])}
        by_leaving = np.broadcast_to(losses[1:, None], (self.joint.layers, len(grid), len(grid)))
        found = search(grid, starts, self._costs(grid), by_leaving)
        one = cheapest_within(found, budget * self.cost.unmerged)
        return self._schedule(one) if one else None
