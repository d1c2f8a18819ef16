"""A ladder as one HTML page that needs nothing outside itself."""

from collections.abc import Mapping
from typing import Any

from jax_vtm.parity import text
from jax_vtm.reports import svg, wording
from jax_vtm.reports.depth_plot import Line, depth_plot
from jax_vtm.reports.document import document
from jax_vtm.reports.markup import cell, figure, nonbreaking, row_head, safe, section, table

_NOTES = (
    (
        "on its own",
        "Both merge as they decide. Each of the clips' initial tokens is compared by what it has become, wherever that "
        "lies; largest is the largest absolute difference, relative the root mean square of all differences over that "
        "of PyTorch's values.",
    ),
    (
        "replayed",
        "Our model merges as PyTorch decided, so that every token is at the same place and all that differs is "
        "rounding.",
    ),
    (
        "groups alike",
        "Share of initial tokens that are merged with exactly the same others, or discarded in both, after this layer. "
        "One decision that differs changes all later layers, which see other tokens.",
    ),
    (
        "removed, targets, order",
        "Given the very same tokens (replayed): share of the removed tokens that are the same, of their targets, and "
        "of output positions that hold the same token.",
    ),
    ("scores", "Largest difference of a similarity between the two, given the same tokens."),
    (
        "gap",
        "Where decisions differ: how far, in their scores, the two choices lie apart at most. Up to twice the "
        "difference of scores it is a near tie, which rounding decides.",
    ),
)


def render_ladder(results: Mapping[str, Any]) -> str:
    """One self-contained HTML page: the answer, differences by depth, decisions, speed.

    Args:
        results: What `ladder.json` holds.
    """
    model = results["model"]
    clips = len(results["clips"])
    eyebrow = " · ".join(
        [
            results["name"],
            model["preset"],
            f"{results['reduction']['mode']}, {wording.tokens_per_layer(results['tokens_per_layer'], '→')} tokens",
            f"{clips} clip{'s' if clips > 1 else ''}",
        ]
    )
    warnings = []
    if text.differing(results) and not text.near_ties(results):
        warnings.append("Some decisions differ by more than rounding explains; see the column gap.")
    if note := text.busy_note(results):
        warnings.append(note)
    sections = [
        section("Differences by depth", _plot(results) + _sentences(results)),
        section("Rung by rung", _rungs(results)),
        section("Decisions, given the same tokens", _decisions(results)),
        section("Speed", _speed(results)),
        section("How it was compared", _compared(results)),
        section("What the columns mean", _facts([(name, safe(said)) for name, said in _NOTES])),
    ]
    return document(f"{results['name']}: ladder", eyebrow, text.ladder_headline(results), warnings, sections)


def _plot(results: Mapping[str, Any]) -> str:
    rungs, attention = results["rungs"], results["attention"]
    names = ["in", *(str(layer) for layer in range(1, len(rungs) - 1)), "out"]
    kinds = (("own", "on its own"), ("replayed", "replayed"), ("yardstick", f"PyTorch, {attention['yardstick']}"))
    lines = [Line(name, [rung[kind]["relative"] for rung in rungs]) for kind, name in kinds]
    written = [f"logits {text.small(line.values[-1])}" for line in lines]
    drawing = depth_plot("Relative difference to PyTorch, by layer", names, lines, written)
    caption = (
        "Root mean square of the differences over that of PyTorch's values: tokens entering (in) and leaving each "
        "layer, and logits (out); no dot where nothing differs. Grey: PyTorch against itself, with "
        f"{attention['yardstick']} attention."
    )
    steps = svg.steps("Tokens in every layer", [svg.Steps(results["reduction"]["mode"], results["tokens_per_layer"])])
    figures = figure("Relative difference to PyTorch", drawing, caption) + figure("Tokens", steps)
    return f'<div class="plots pair">{figures}</div>'


def _sentences(results: Mapping[str, Any]) -> str:
    said = (text.class_sentence(results), text.yardstick_sentence(results))
    return f'<ul class="comparisons">{"".join(f"<li>{nonbreaking(one)}</li>" for one in said)}</ul>\n'


def _rungs(results: Mapping[str, Any]) -> str:
    rows = []
    for number, rung in enumerate(results["rungs"]):
        cells = [cell(text.tokens(rung), rung["tokens"])]
        for kind in ("own", "replayed", "yardstick"):
            cells += [cell(text.small(rung[kind][what]), rung[kind][what]) for what in ("largest", "relative")]
            if kind == "own":
                alike = rung["own"].get("groups_alike")
                cells.append(cell(text.share(alike), alike))
        rows.append(f"<tr>{row_head(rung['name'], number)}{''.join(cells)}</tr>\n")
    other = results["attention"]["yardstick"]
    heads = ("tokens", "own, largest", "relative", "groups alike", "replayed, largest", "relative")
    heads = [("rung", "text"), *((name, "number") for name in (*heads, f"{other}, largest", "relative"))]
    return table("Differences at every rung", heads, rows)


def _decisions(results: Mapping[str, Any]) -> str:
    rows = []
    for number, rung in enumerate(results["rungs"]):
        matching = rung["matching"]
        if matching is None:
            continue
        cells = []
        for kind in text.KINDS:
            counted = matching[kind]
            of = f"{text.grouped(counted['alike'])} of {text.grouped(counted['of'])}"
            cells.append(cell(text.alike(rung, kind), counted["alike"] / (counted["of"] or 1), below=of))
        cells += [cell(text.small(matching["scores"]), matching["scores"]), cell(text.gap(rung), matching["gap"])]
        rows.append(f"<tr>{row_head(rung['name'], number)}{''.join(cells)}</tr>\n")
    if not rows:
        return f"<p>{safe(text.decision_sentence(results))}.</p>\n"
    heads = [("layer", "text"), *((name, "number") for name in ("removed", "targets", "order", "scores", "gap"))]
    return table("Decisions in every layer", heads, rows, "sortable fitted")


def _speed(results: Mapping[str, Any]) -> str:
    rows = []
    for number, timed in enumerate(results["measured"]["rounds"], 1):
        ratio = timed["jax"] / timed["pytorch"]
        cells = [cell(wording.number(timed[side]), timed[side]) for side in ("jax", "pytorch")]
        rows.append(f"<tr>{row_head(number)}{''.join(cells)}{cell(wording.times(ratio), ratio)}</tr>\n")
    heads = [("round", "text"), ("JAX, clips/s", "number"), ("PyTorch, clips/s", "number"), ("ratio", "number")]
    note = (
        f"{text.speed_sentence(results)} Both classify the same clips, merged, in one process and in turn; compiling "
        "and reading are not counted."
    )
    return f"<p>{nonbreaking(note)}</p>\n{table('Clips per second in every round', heads, rows, 'sortable fitted')}"


def _compared(results: Mapping[str, Any]) -> str:
    model, environment, attention = results["model"], results["environment"], results["attention"]
    versions = ", ".join(
        f"{name} {environment[name]}" for name in ("jax", "jax_vtm", "torch", "transformers", "python")
    )
    settings = ", ".join(f"{key} {value}" for key, value in results["reduction"].items() if value is not None)
    facts = [
        (
            "PyTorch",
            safe(f"{model['library_class']}, {attention['pytorch']} attention, {text.threads(results)}"),
        ),
        ("JAX", safe(f"{environment['num_devices']} x {environment['device_kind']}, {environment['dtype']}")),
        ("Weights", safe(f"{model['weights']}; {text.grouped(model['parameters'])} parameters, the same in both")),
        ("Reduction", safe(settings)),
        ("Input", safe(" x ".join(map(str, model["input_shape"])))),
        ("Clips", safe(", ".join(results["clips"]))),
        ("Software", safe(versions)),
        ("Cores", safe(environment["cores"])),
    ]
    return _facts(facts)


def _facts(facts: list[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{safe(name)}</dt><dd>{said}</dd>' for name, said in facts)}</dl>"
