"""Reads a page as a test asks about it."""

import html.parser
import re

HOSTILE = "<script>alert('\"&$x_1$</script>"
VOID = {"meta", "img", "link", "br"}


class PageReader(html.parser.HTMLParser):
    """Collects tags, text and tables, and checks that every tag is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._table: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "div" and dict(attrs).get("role") == "region":
            self._table = self.tables.setdefault(dict(attrs)["aria-label"], [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)
        if {"td", "th"} & set(self._open):
            self._table[-1][-1] += data.strip() if self._open[-1] != "small" else f" {data.strip()}"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def marks_of(figure: str) -> list[tuple[float, float]]:
    """Where the marks of a figure stand, in its units, in the order in which they were drawn."""
    found = []
    for group in figure.split('<g id="')[1:]:
        if re.match(r"[a-z0-9-]*-point-\d+\"", group) or re.match(r"point-\d+", group):
            found += [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', group)]
    return found
