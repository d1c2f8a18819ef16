"""The examples of results that the tests of pages have."""

import pathlib
import sys

sys.path += [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("reports", "benchmarks", "studies")]
