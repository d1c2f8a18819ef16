"""Layer-wise parity for a reader: one table of columns for page and terminal, a figure, and the answer."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Table, plots
from jax_vtm.reports.formatting import TIMES, factor, number, plural, scientific, thousands, tokens_per_layer
from jax_vtm.reports.sections import Section, sections_page
from jax_vtm.reports.table import TERMINAL_WIDTH

Results = Mapping[str, Any]

# Rounds whose ratios of speeds lie further apart than this factor do not say which side is faster by how much.
UNEVEN = 2

# Load per core from which other programs must have taken part: the threads of both sides, at rest, still count a while.
BUSY = 1.5

_DIFFERENCE = (
    "The largest absolute difference to PyTorch's values, and the root mean square of all differences over that of "
    "PyTorch's values. Both merge as they decide; each initial token is compared by what it has become."
)
_GROUPS = (
    "Share of initial tokens that are merged with exactly the same others, or discarded in both, after this layer. One "
    "decision that differs changes all later layers, which see other tokens."
)
_REPLAYED = (
    "Our model merges as PyTorch decided, so that tokens are at the same places and all that differs is rounding."
)
_FLOOR = "PyTorch and PyTorch with its other attention: what differences are usual between two ways of the same sums."
_DECISIONS = (
    "Given the very same tokens (replayed): share of the removed tokens that are the same, of their destinations, and "
    "of output positions that hold the same token."
)


def share(value: float) -> str:
    """A share of 1 in percent, which is 100 only where nothing is missing."""
    return "100" if value == 1 else f"{min(100 * value, 99.99):.2f}"


_LAYER = Column("name", "layer")
_DIFFERENCES = (
    Column("tokens", "tokens", format=str),
    Column("own_largest", "differs by", format=scientific, note=_DIFFERENCE),
    Column("own_relative", "relative", format=scientific, note=_DIFFERENCE),
    Column("own_groups_alike", "same groups", "%", share, note=_GROUPS),
    Column("replayed_relative", "replayed, relative", format=scientific, note=_REPLAYED),
    Column("noise_floor_relative", "noise floor, relative", format=scientific, note=_FLOOR),
    Column("noise_floor_groups_alike", "noise floor, same groups", "%", share, note=_FLOOR),
)
_MATCHING = (
    Column("decisions", "decisions", format=thousands, note="Tokens that PyTorch removes in this layer, of all clips."),
    Column("removed", "same removed", "%", share, note=_DECISIONS),
    Column("targets", "same destination", "%", share, note=_DECISIONS),
    Column("positions", "same order", "%", share, note=_DECISIONS),
    Column(
        "scores", "scores differ by", format=scientific, note="Largest difference of a similarity of the same tokens."
    ),
    Column(
        "gap",
        "gap",
        format=scientific,
        note="Where decisions differ: how far, in their scores, the two choices lie apart at most. Up to twice the "
        "difference of scores it is a near tie, which rounding decides.",
    ),
)
_SPEED = (
    Column("side", "side"),
    Column("clips_per_s", "speed", "clips/s", number, "Median of the rounds, and quartiles."),
)


def tables(results: Results) -> list[Table]:
    """Differences by layer, decisions by layer, speed; without what has no rows."""
    layers = results["layers"]
    rows = [_row(layer) for layer in layers]
    speeds = results["measured"]["clips_per_s"]
    rates = {side: Interval.of(speeds[key], "median") for key, side in (("jax", "JAX"), ("pytorch", "PyTorch"))}
    found = [
        Table("Differences", [_LAYER, *_DIFFERENCES], rows),
        Table("Decisions", [_LAYER, *_MATCHING], [row for row in rows if "decisions" in row]),
        Table("Speed", _SPEED, [{"side": side, "clips_per_s": rate} for side, rate in rates.items()]),
    ]
    return [table for table in found if table.rows]


def _row(layer: Mapping[str, Any]) -> dict[str, Any]:
    sides = {
        f"{side}_{key}": value for side in ("own", "replayed", "noise_floor") for key, value in layer[side].items()
    }
    row = {"name": layer["name"], "tokens": layer["tokens"], **sides}
    if matching := layer["matching"]:
        counts = {key: matching[key] for key in ("removed", "targets", "positions")}
        row |= {key: one["alike"] / (one["of"] or 1) for key, one in counts.items()}
        row |= {"decisions": counts["removed"]["of"], "scores": matching["scores"], "gap": matching["gap"]}
    return row


def headline(results: Results) -> str:
    """Decisions, logits and speed in one sentence."""
    apart = scientific(results["layers"][-1]["own"]["largest"])
    speed = _speed(results["measured"])
    return f"JAX and PyTorch {_decisions(results)}; logits differ by at most {apart}; {speed}."


def _decisions(results: Results) -> str:
    decided = _decided(results)
    if not decided:
        merges = results["reduction"]["mode"] != "none"
        return "merge nothing by similarity" if merges else "merge nothing"
    of = sum(matching["removed"]["of"] for matching in decided)
    same = sum(matching["targets"]["alike"] for matching in decided)
    said = f"take all {thousands(of)} merging decisions alike"
    if same < of:
        said = f"take {thousands(same)} of {thousands(of)} merging decisions alike"
    if moved := sum(map(_moved, decided)):
        said += f" but for the order of {plural(moved, 'kept token')}"
    if not _differing(results):
        return said
    return f"{said} ({'near ties' if _near_ties(results) else 'more than near ties'})"


def _speed(measured: Results) -> str:
    """The speeds' ratio, unless its rounds lie too far apart to say it, as on a busy machine."""
    ratio = measured["ratio"]
    low, high = (f"{factor(ratio[key])}{TIMES}" for key in ("lowest", "highest"))
    if ratio["highest"] > UNEVEN * ratio["lowest"]:
        return f"JAX runs {low} to {high} as fast, too uneven to say more"
    return f"JAX runs {factor(ratio['median'])}{TIMES} as fast"


def _differing(results: Results) -> bool:
    """Whether any decision differs, given the same tokens: another token removed, another destination or order."""
    return any(
        matching["targets"]["alike"] < matching["removed"]["of"] or _moved(matching) for matching in _decided(results)
    )


def _decided(results: Results) -> list[Mapping[str, Any]]:
    return [layer["matching"] for layer in results["layers"] if layer["matching"]]


def _moved(matching: Mapping[str, Any]) -> int:
    """Output positions with another token. Where other tokens are removed, that alone moves those between."""
    removed, positions = matching["removed"], matching["positions"]
    return positions["of"] - positions["alike"] if removed["alike"] == removed["of"] else 0


def _near_ties(results: Results) -> bool:
    """Whether every decision that differs was between scores no further apart than rounding moves two of them."""
    return all(matching["gap"] is None or matching["gap"] <= 2 * matching["scores"] for matching in _decided(results))


def warnings(results: Results) -> list[str]:
    """Decisions that rounding does not explain, and a machine that had more to do than this."""
    said = []
    if _differing(results) and not _near_ties(results):
        said.append("Some decisions differ by more than rounding explains; see the column gap.")
    load, environment = results["measured"]["load_average"], results["environment"]
    if load is not None and load > environment["cores"] * BUSY:
        busy = f"The machine was busy (load {load:.1f} on {environment['cores']} cores), so the speeds say little."
        if environment["threads"] > 1:
            busy += " PyTorch's threads wait for each other then: --config.parity.threads=1 may be fairer."
        said.append(busy)
    return said


def parity_text(results: Results) -> str:
    """The results for a terminal, 80 columns wide.

    Args:
        results: What `parity.json` holds.
    """
    said = [textwrap.fill(sentence, TERMINAL_WIDTH) for sentence in [headline(results), *warnings(results)]]
    return "\n".join([*(table.text() for table in tables(results)), *said])


def parity_page(results: Results) -> Page:
    """The page: differences by layer, decisions, speed.

    Args:
        results: What `parity.json` holds.
    """
    first, *others = tables(results)
    about = [
        results["model"]["preset"],
        f"{results['reduction']['mode']}, {tokens_per_layer(results['tokens_per_layer'])} tokens",
        plural(len(results["clips"]), "clip"),
    ]
    sections = [Section(first.title, figures=_figures(results), table=first)]
    sections += [Section(table.title, table=table) for table in others]
    sections.append(Section("How it was compared", facts=_facts(results)))
    return sections_page(
        {"name": results["name"]}, "parity", " · ".join(about), headline(results), warnings(results), sections
    )


def _figures(results: Results) -> list[Figure]:
    layers, counts = results["layers"], results["tokens_per_layer"]
    kinds = {
        "own": "on its own",
        "replayed": "decisions replayed",
        "noise_floor": f"PyTorch, {results['attention']['noise_floor']} attention",
    }
    series = [
        plots.Series(
            name,
            range(len(layers)),
            [Interval(layer[side]["relative"]) for layer in layers],
            colour,
            dashed=side == "noise_floor",
            marker=colour,
        )
        for (side, name), colour in zip(kinds.items(), (1, 3, 0), strict=True)
    ]
    names = [str(layer) for layer in range(len(counts) - 1)]
    difference = plots.lines(
        "difference",
        "Relative difference to PyTorch",
        series,
        "No mark where nothing differs. Dashed: the noise floor, PyTorch against itself.",
        x_label="tokens leaving layer",
        y_label="relative difference",
        log=True,
        names=["in", *names, "logits"],
    )
    tokens = plots.lines(
        "tokens",
        "Tokens",
        [plots.Series(results["reduction"]["mode"], range(len(counts)), [Interval(count) for count in counts])],
        x_label="entering layer",
        y_label="tokens",
        steps=True,
        from_zero=True,
        names=[*names, "out"],
    )
    return [*([difference] if any(y.value for one in series for y in one.y) else []), tokens]


def _facts(results: Results) -> Sequence[tuple[str, str]]:
    model, environment, attention = results["model"], results["environment"], results["attention"]
    threads = plural(environment["threads"], "thread")
    software = ("jax", "jax_vtm", "torch", "transformers", "python")
    return [
        ("Same class", f"{results['same_class']} of {plural(len(results['clips']), 'clip')}"),
        ("PyTorch", f"{model['library_class']}, {attention['pytorch']} attention, {threads}"),
        ("JAX", f"{environment['num_devices']} {TIMES} {environment['device_kind']}, {environment['dtype']}"),
        ("Weights", f"{model['weights']}; {thousands(model['parameters'])} parameters, the same in both"),
        ("Reduction", ", ".join(f"{key} {v}" for key, v in results["reduction"].items() if v is not None)),
        ("Input", f" {TIMES} ".join(map(str, model["input_shape"]))),
        ("Clips", ", ".join(results["clips"])),
        ("Speed", "Both classify the same clips in one process, in turn; compiling and reading are not counted."),
        ("Software", ", ".join(f"{name} {environment[name]}" for name in software)),
        ("Cores", str(environment["cores"])),
    ]
