"""TensorFlow Datasets of videos, built and read without TensorFlow.

`videos` has the builder for any source, `datasets` those of the published data sets. Both import TensorFlow Datasets,
which takes a second; `layout`, which reading needs as well, does not.
"""
