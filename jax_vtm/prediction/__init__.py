"""Predicts the classes of videos."""

from jax_vtm.prediction.predict import predict, probabilities

__all__ = ["predict", "probabilities"]
