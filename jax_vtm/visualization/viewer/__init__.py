"""A clip and its token groups, to be moved through on a page."""

from jax_vtm.visualization.viewer.viewer import SCRIPT, STYLE, Layer, viewer

__all__ = ["SCRIPT", "STYLE", "Layer", "viewer"]
