"""Published accuracies as data, and ours beside them."""

from jax_vtm.reports.published.beside import Apart, Beside, set_beside
from jax_vtm.reports.published.results import PublishedResult, published_results

__all__ = ["Apart", "Beside", "PublishedResult", "published_results", "set_beside"]
