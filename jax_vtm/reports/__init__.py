"""Results -> tables, plots, pictures, one HTML page. Knows nothing of how they were computed."""

from jax_vtm.reports.benchmark_page import render_benchmark
from jax_vtm.reports.benchmark_table import format_benchmark
from jax_vtm.reports.comparison_page import render_comparison
from jax_vtm.reports.comparison_text import comparison_headline, format_comparison
from jax_vtm.reports.ladder_page import render_ladder
from jax_vtm.reports.ladder_text import format_ladder, ladder_headline
from jax_vtm.reports.membership_picture import contact_sheet, draw_groups, draw_groups_apart, group_colours
from jax_vtm.reports.page import render_report
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.sweep_page import render_sweep
from jax_vtm.reports.table import format_results, markdown_table
from jax_vtm.reports.wording import comparison_sentence, failure_note, headline

__all__ = [
    "Picture",
    "comparison_headline",
    "comparison_sentence",
    "contact_sheet",
    "draw_groups",
    "draw_groups_apart",
    "failure_note",
    "format_benchmark",
    "format_comparison",
    "format_ladder",
    "format_results",
    "group_colours",
    "headline",
    "ladder_headline",
    "markdown_table",
    "render_benchmark",
    "render_comparison",
    "render_ladder",
    "render_report",
    "render_sweep",
]
