"""The page of layer-wise parity, and its text for the terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Table, plots
from jax_vtm.reports.formatting import TIMES, factor, number, plural, scientific, thousands, tokens_per_layer
from jax_vtm.reports.page import Section, sections_page
from jax_vtm.reports.table import TERMINAL_WIDTH

Results = Mapping[str, Any]

UNEVEN = 2  # rounds whose ratios differ by more than this factor give no single speed-up
BUSY = 1.5  # load per core that is due to other programs

_DIFFERENCE = (
    "The largest absolute difference from PyTorch's values, and the root mean square of the differences over that of "
    "PyTorch's values. Each side decides what to merge; every initial token is compared by the token that it is in."
)
_GROUPS = (
    "Share of initial tokens that are merged with the same others, or discarded in both, after this layer. One "
    "different decision changes all later layers."
)
_REPLAYED = "Our model replays PyTorch's decisions, so that all differences are rounding."
_FLOOR = "PyTorch against PyTorch with its other attention: the noise floor of two ways to compute the same sums."
_DECISIONS = (
    "On the same tokens (replayed): share of the removed tokens that are the same, of their destinations, and of "
    "output positions with the same token."
)


def share(value: float) -> str:
    """Formats a share in percent; only exactly 1 is `100`."""
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
        note="The largest difference of the scores of two choices where decisions differ. Up to twice the difference "
        "of scores it is a near tie, which rounding decides.",
    ),
)
_SPEED = (
    Column("side", "side"),
    Column("clips_per_s", "speed", "clips/s", number, "Median of the rounds, and quartiles."),
)


def _tables(results: Results) -> list[Table]:
    rows = [_row(layer) for layer in results["layers"]]
    speeds = results["measured"]["clips_per_s"]
    rates = {side: Interval.of(speeds[key], "median") for key, side in (("jax", "JAX"), ("pytorch", "PyTorch"))}
    return [
        Table("Differences", [_LAYER, *_DIFFERENCES], rows),
        Table("Decisions", [_LAYER, *_MATCHING], [row for row in rows if "decisions" in row]),
        Table("Speed", _SPEED, [{"side": side, "clips_per_s": rate} for side, rate in rates.items()]),
    ]


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
    """Returns decisions, difference of logits and speed."""
    largest = scientific(results["layers"][-1]["own"]["largest"])
    return f"JAX and PyTorch {_decisions(results)}; logits differ by at most {largest}; {_speed(results['measured'])}."


def _decisions(results: Results) -> str:
    decided = _decided(results)
    if not decided:
        merges = results["reduction"]["mode"] != "none"
        return "merge nothing by similarity" if merges else "merge nothing"
    of = sum(matching["removed"]["of"] for matching in decided)
    same = sum(matching["targets"]["alike"] for matching in decided)
    text = f"agree in all {thousands(of)} merging decisions"
    if same < of:
        text = f"agree in {thousands(same)} of {thousands(of)} merging decisions"
    if moved := sum(map(_moved, decided)):
        text += f" but for the order of {plural(moved, 'kept token')}"
    if not _differing(results):
        return text
    return f"{text} ({'near ties' if _near_ties(results) else 'more than near ties'})"


def _speed(measured: Results) -> str:
    ratio = measured["ratio"]
    low, high = (f"{factor(ratio[key])}{TIMES}" for key in ("lowest", "highest"))
    if ratio["highest"] > UNEVEN * ratio["lowest"]:
        return f"JAX runs {low} to {high} as fast, too uneven for a median"
    return f"JAX runs {factor(ratio['median'])}{TIMES} as fast"


def _differing(results: Results) -> bool:
    return any(
        matching["targets"]["alike"] < matching["removed"]["of"] or _moved(matching) for matching in _decided(results)
    )


def _decided(results: Results) -> list[Mapping[str, Any]]:
    return [layer["matching"] for layer in results["layers"] if layer["matching"]]


def _moved(matching: Mapping[str, Any]) -> int:
    """Counts output positions with another token; 0 if other tokens are removed, which moves those between."""
    removed, positions = matching["removed"], matching["positions"]
    return positions["of"] - positions["alike"] if removed["alike"] == removed["of"] else 0


def _near_ties(results: Results) -> bool:
    """Returns whether rounding, which moves each of two scores, explains every different decision."""
    return all(matching["gap"] is None or matching["gap"] <= 2 * matching["scores"] for matching in _decided(results))


def _warnings(results: Results) -> list[str]:
    messages = []
    if _differing(results) and not _near_ties(results):
        messages.append("Some decisions differ by more than rounding explains; see the column gap.")
    load, environment = results["measured"]["load_average"], results["environment"]
    if load is not None and load > environment["cores"] * BUSY:
        busy = f"The machine was busy (load {load:.1f} on {environment['cores']} cores): the speeds are unreliable."
        if environment["threads"] > 1:
            busy += " PyTorch's threads then wait for each other: --config.parity.threads=1 may be fairer."
        messages.append(busy)
    return messages


def parity_text(results: Results) -> str:
    """Formats the content of `parity.json` for the terminal."""
    lines = [textwrap.fill(sentence, TERMINAL_WIDTH) for sentence in [headline(results), *_warnings(results)]]
    return "\n".join([*(table.text() for table in _tables(results) if table.rows), *lines])


def parity_page(results: Results) -> Page:
    """Makes the page from the content of `parity.json`."""
    first, *others = _tables(results)
    about = [
        results["model"]["preset"],
        f"{results['reduction']['mode']}, {tokens_per_layer(results['tokens_per_layer'])} tokens",
        plural(len(results["clips"]), "clip"),
    ]
    sections = [Section(first.title, figures=_figures(results), table=first)]
    sections += [Section(table.title, table=table) for table in others]
    sections.append(Section("How it was compared", facts=_facts(results)))
    return sections_page(
        {"name": results["name"]}, "parity", " · ".join(about), headline(results), _warnings(results), sections
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
    difference = plots.lines(
        "difference",
        "Relative difference to PyTorch",
        series,
        "No mark where nothing differs. Dashed: the noise floor, PyTorch against itself.",
        x_label="tokens leaving layer",
        y_label="relative difference",
        log=True,
        names=["in", *map(str, range(len(counts) - 1)), "logits"],
    )
    return [difference, plots.tokens({results["reduction"]["mode"]: counts})]


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
        ("Speed", "Both classify the same clips in one process, in turn, without compiling and reading."),
        ("Software", ", ".join(f"{name} {environment[name]}" for name in software)),
        ("Cores", str(environment["cores"])),
    ]
