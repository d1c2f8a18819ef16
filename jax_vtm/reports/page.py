"""Pages from templates: one HTML file each that needs nothing outside itself and links to its workdir's others."""

import base64
import dataclasses
import datetime
import functools
import os
import pathlib
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from jax_vtm.errors import shown
from jax_vtm.files import write_text
from jax_vtm.reports.figure import PALETTE, Figure, Picture
from jax_vtm.reports.table import Column

NAME = "report.html"
PICTURE_WIDTH = 720  # small pictures are enlarged by whole factors up to about this many CSS pixels

# What stands between is written anew whenever a page joins its workdir.
_LINKS = re.compile(r'(<nav data-page="([^"]*)">).*?(</nav>)', re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Page:
    """A finished page: all of its HTML, and the figures on it in their order."""

    html: str
    figures: Sequence[Figure]

    def write(self, workdir: pathlib.Path, folder: str = "") -> None:
        """Writes `report.html` and `figures/`, and lets the pages of the workdir link to each other.

        Args:
            workdir: Of the run; its own page is there, those of other commands in folders below.
            folder: Of this page below the workdir; empty for the workdir itself.
        """
        figures = workdir / folder / "figures"
        for figure in self.figures:
            figure.save(figures)
        # Those of an earlier run are of other numbers.
        slugs = {figure.slug for figure in self.figures}
        for file in [*figures.glob("*.pdf"), *figures.glob("*.png")]:
            if file.stem not in slugs:
                file.unlink()
        path = workdir / folder / NAME
        places = [workdir / NAME, *sorted({path, *workdir.glob(f"*/{NAME}")} - {workdir / NAME})]
        found = [place for place in places if place == path or place.is_file()]
        texts = {place: self.html if place == path else place.read_text("utf-8", "surrogateescape") for place in found}
        # The page in the workdir itself is called by what it is, those below by their folders.
        names = {
            place: match[2] if place.parent == workdir else escape(shown(place.parent.name))
            for place, text in texts.items()
            if (match := _LINKS.search(text))
        }
        for place in names:
            links = []
            for other, name in names.items() if len(names) > 1 else ():
                way = urllib.parse.quote(os.path.relpath(other, place.parent).replace(os.sep, "/"))
                here = f'<span aria-current="page">{name}</span>'
                links.append(here if other == place else f'<a href="{way}">{name}</a>')
            nav = " ".join(links)
            linked = _LINKS.sub(lambda match, nav=nav: f"{match[1]}{nav}{match[3]}", texts[place], count=1)
            if place == path or linked != texts[place]:
                write_text(place, linked)


def render_page(template: str, **context: Any) -> Page:
    """Fills a template that extends `reports/templates/base.html.j2`.

    Figures and tables are shown by the macros of `reports/templates/parts.html.j2`; those on the page are remembered:
    figures are saved with it, and the columns' notes stand at its end.

    Args:
        template: Its path in the package, such as `visualization/page.html.j2`.
        **context: What it shows. All text is escaped.
    """
    figures: list[Figure] = []
    notes: dict[str, dict[str, None]] = {}

    def draw(figure: Figure) -> Markup:
        figures.append(figure)
        return figure.svg()

    def remember(columns: Sequence[Column]) -> str:
        for column in columns:
            if column.note:
                notes.setdefault(column.note, {})[column.title] = None
        return ""

    html = _environment().get_template(template).render(context, draw=draw, remember=remember, column_notes=notes)
    return Page(html, figures)


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jax_vtm", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["palette"] = PALETTE
    environment.filters |= {"nonbreaking": nonbreaking, "image": image}
    return environment


def date(stamp: str | None) -> str:
    """`2026-11-24T03:00:00Z` as `24 November 2026, 03:00 UTC`; anything else as it is."""
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return stamp or ""
    zone = f" {moment.tzname()}" if moment.tzname() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


def nonbreaking(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return str(text).replace(" %", "\u00a0%").replace("r = ", "r\u00a0=\u00a0")


def image(picture: Picture) -> Markup:
    """A picture embedded as PNG."""
    width, height = picture.size
    text = '<img alt="{}" width="{}" height="{}" style="width:{}px" src="data:image/png;base64,{}">'
    enlarged = width * max(1, PICTURE_WIDTH // width)
    return Markup(text).format(picture.title, width, height, enlarged, base64.b64encode(picture.png).decode("ascii"))
