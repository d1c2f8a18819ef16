"""The frame of every page: one HTML document that needs nothing outside itself."""

import importlib.resources
from collections.abc import Sequence

from jax_vtm.reports.markup import nonbreaking, safe

# A row is sorted by the number in data-sort; without scripts the table simply keeps its order.
_SORT_SCRIPT = """
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.sort;
    const compare = (a, b) => (isNaN(a) || isNaN(b) || a === "" || b === "" ? a.localeCompare(b) : a - b);
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)) * (rising ? 1 : -1));
    body.append(...rows);
  });
}
"""


def document(title: str, eyebrow: str, heading: str, warnings: Sequence[str], sections: Sequence[str]) -> str:
    """Puts a page together.

    Args:
        title: Of the browser's window.
        eyebrow: A line above the heading.
        heading: The page's answer, in a sentence.
        warnings: What has to be known beside it.
        sections: Finished HTML.
    """
    shown = "".join(f'<p class="warning" role="note">{safe(warning)}</p>\n' for warning in warnings)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{safe(title)}</title>
<style>
{importlib.resources.files("jax_vtm.reports").joinpath("report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<p class="eyebrow">{safe(eyebrow)}</p>
<h1>{nonbreaking(heading)}</h1>
{shown}</header>
<main>
{"".join(sections)}</main>
<script>{_SORT_SCRIPT}</script>
</body>
</html>
"""
