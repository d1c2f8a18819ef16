"""Which classes a model sees in any video, with and without merging, by name and probability."""

from jax_vtm.prediction.predict import predict, probabilities

__all__ = ["predict", "probabilities"]
