"""Results -> tables, plots, pictures, one HTML page. Knows nothing of how they were computed."""

from jax_vtm.reports.benchmark_page import render_benchmark
from jax_vtm.reports.benchmark_table import format_benchmark
from jax_vtm.reports.comparison_page import render_comparison
from jax_vtm.reports.comparison_text import comparison_headline, format_comparison
from jax_vtm.reports.gif import gif
from jax_vtm.reports.labelled import labelled_sheet, side_by_side
from jax_vtm.reports.ladder_page import render_ladder
from jax_vtm.reports.ladder_text import format_ladder, ladder_headline
from jax_vtm.reports.membership_picture import contact_sheet, draw_groups, draw_groups_apart, group_colours
from jax_vtm.reports.one_layer_section import one_layer_answer
from jax_vtm.reports.page import render_report
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.splice_page import render_splices, splice_headline
from jax_vtm.reports.sweep_page import render_sweep
from jax_vtm.reports.table import format_results, markdown_table
from jax_vtm.reports.viewer import Layer
from jax_vtm.reports.visualisation_page import ShownClip, render_visualisation
from jax_vtm.reports.visualisation_text import visualisation_headline
from jax_vtm.reports.wording import comparison_sentence, failure_note, headline

__all__ = [
    "Layer",
    "Picture",
    "ShownClip",
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
    "gif",
    "group_colours",
    "headline",
    "labelled_sheet",
    "ladder_headline",
    "markdown_table",
    "one_layer_answer",
    "render_benchmark",
    "render_comparison",
    "render_ladder",
    "render_report",
    "render_splices",
    "render_sweep",
    "render_visualisation",
    "side_by_side",
    "splice_headline",
    "visualisation_headline",
]
