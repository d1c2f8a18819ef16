"""The page of the study of splices: merging across the splice, and whose class the prediction follows."""

from collections.abc import Mapping
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, plots, runs
from jax_vtm.reports.formatting import accuracy_name, head_label, number, percent, points
from jax_vtm.reports.page import Section, sections_page
from jax_vtm.studies.splices_results import ACTION, UNSPLICED

Results = Mapping[str, Any]

_KINDS = {
    UNSPLICED: "unspliced",
    "random": "random donor",
    "same_class": "donor of the same class",
    "different_class": "donor of another class",
}
_CLIPS, _RUN = Column("clips", "clips"), Column("run", "run")
_CHANCE = "The same for random groups of these sizes."
_LAYERS = (
    _CLIPS,
    Column("layer", "layer", "", str),
    Column("share_of_tokens", "of tokens", "%", percent, "Merged patch tokens that are across the splice."),
    Column("chance_of_tokens", "tokens by chance", "%", percent, _CHANCE),
    Column("over_unspliced", "over unspliced", "points", points, "The difference of the tokens' shares."),
    Column("share_of_groups", "of groups", "%", percent, "Merged groups that are across the splice."),
    Column("chance_of_groups", "groups by chance", "%", percent, _CHANCE),
    Column("merged_tokens", "merged tokens", "", number, "Mean per clip."),
    Column("merged_groups", "merged groups", "", number, "Mean per clip."),
)
_FOLLOWS = "Counted where host and donor have different labels; the rest follows neither."
_PREDICTED = {
    "accuracy": ("accuracy", "Of the host's label."),
    "follows_host": ("follows host", _FOLLOWS),
    "follows_donor": ("follows donor", _FOLLOWS),
}


def splices_headline(results: Results) -> str:
    """Returns the share of tokens merged across the splice after the last layer."""
    last = {entry["clips"]: entry for entry in results["layers"]}
    kind = _least_similar_donor(results)
    found, facts = last[kind], results["study"]
    if not found["merged_tokens"]:
        return "Nothing was merged, so nothing was merged across splices."
    over = Interval.of(found.get("over_unspliced"))
    unspliced = "" if over.spans_zero else f"{percent(last[UNSPLICED]['share_of_tokens']['value'])} % unspliced, "
    return (
        f"With {facts['tubelets']} of {facts['of']} tubelets from a {_KINDS[kind]}, "
        f"{percent(found['share_of_tokens']['value'])} % of merged tokens are across the splice; "
        f"{unspliced}{percent(found['chance_of_tokens'])} % by chance."
    )


def splices_page(results: Results, picture: Picture | None = None) -> Page:
    """Makes the page from the content of `results.json`, and a picture of one splice."""
    facts = results["study"]
    text = (
        f"In every clip {facts['tubelets'] * facts['frames_per_tubelet']} frames, {facts['tubelets']} tubelets, are "
        "replaced by the same ones of a donor's clip: whole tubelets, before normalisation, so that no token sees both."
        " Their position and the donor are random for every video; donors are any other video, or one of the same or "
        f"of another class. Classes are those of {facts['classes']}; seed {facts['seed']}."
        " videos.csv lists all donors."
    )
    sections = [
        Section("Merging across the splice", figures=[_shares(results), *_accuracies(results)]),
        *([Section("A splice", picture=picture)] if picture else []),
        Section("Predictions", table=_predictions(results)),
        Section("Layer by layer", f"After every layer of {results['layers'][0]['run']}.", table=layer_table(results)),
        *runs.closing_sections(results, text=text),
    ]
    about = results["dataset"].get("description")
    return sections_page(results, "study", about, splices_headline(results), runs.warnings(results), sections)


def layer_table(results: Results) -> Table:
    """Makes the table of every kind of clips and layer."""
    clips = results["dataset"]["n_ok"] * results["protocol"]["num_clips"] * results["protocol"]["num_crops"]
    rows = []
    for entry in results["layers"]:
        intervals = ("share_of_tokens", "share_of_groups", "over_unspliced")
        row = {**entry, **{key: Interval.of(entry.get(key)) for key in intervals}, "clips": _KINDS[entry["clips"]]}
        rows.append(row | {key: entry[key] / clips for key in ("merged_tokens", "merged_groups")})
    return Table("Layer by layer", _LAYERS, rows)


def _least_similar_donor(results: Results) -> str:
    return next(kind for kind in ("different_class", "random", "same_class") if kind in results["study"]["donors"])


def _shares(results: Results) -> Figure:
    series = []
    for colour, kind in enumerate(_KINDS):
        entries = [entry for entry in results["layers"] if entry["clips"] == kind and entry["merged_tokens"]]
        layers = [entry["layer"] for entry in entries]
        values = [Interval.of(entry["share_of_tokens"]).scaled(100) for entry in entries]
        series += [plots.Series(_KINDS[kind], layers, values, colour, marker=colour)] if entries else []
        if entries and kind == _least_similar_donor(results):
            chance = [Interval(100 * entry["chance_of_tokens"]) for entry in entries]
            series.append(plots.Series(f"{_KINDS[kind]}, by chance", layers, chance, colour, dashed=True))
    return plots.lines(
        "across the splice",
        "Merged across the splice",
        series,
        "Merged patch tokens whose group has tokens of both clips, with 95 % intervals (bootstrap over videos). "
        "Unspliced: across the same borders of the original clips.",
        x_label="after layer",
        y_label="merged tokens (%)",
        from_zero=True,
    )


def _accuracies(results: Results) -> list[Figure]:
    """Draws the accuracy of the head that defines the classes, else of the action, else of the first head."""
    heads = results["predictions"][0]["heads"]
    head = next((head for head in (results["study"]["classes"], ACTION, *heads) if head in heads), None)
    if head is None:
        return []
    series = []
    for colour, name in enumerate(dict.fromkeys(entry["run"] for entry in results["predictions"])):
        entries = [entry for entry in results["predictions"] if entry["run"] == name]
        values = [Interval.of(entry["heads"][head]["accuracy"]).scaled(100) for entry in entries]
        series.append(plots.Series(name, [_KINDS[entry["clips"]] for entry in entries], values, colour, marker=colour))
    title = f"{accuracy_name(f'{head}/top1').capitalize()} of the host"
    caption = "With 95 % intervals. The axis does not start at zero."
    return [plots.intervals("accuracy", title, series, caption, x_label="clips (%)")]


def _predictions(results: Results) -> Table:
    same = "Clips with the same prediction as the original clip, by the same run."
    columns = [_CLIPS, _RUN, Column("same", "as unspliced", "%", percent, same)]
    for head in results["predictions"][0]["heads"]:
        columns += [
            Column(f"{head}/{key}", f"{head_label(head)}{title}", "%", percent, note)
            for key, (title, note) in _PREDICTED.items()
        ]
    rows = []
    for entry in results["predictions"]:
        row = {"clips": _KINDS[entry["clips"]], "run": entry["run"], "same": Interval.of(entry.get("as_unspliced"))}
        for head, found in entry["heads"].items():
            row |= {f"{head}/{key}": Interval.of(found.get(key)) for key in _PREDICTED}
        rows.append(row)
    return Table("Predictions", columns, rows)
