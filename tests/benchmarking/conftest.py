"""Models and counts that the tests of models have."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "models"))
