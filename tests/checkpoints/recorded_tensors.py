"""The PyTorch reference's recorded tensors of each kind of model, and the model that takes them."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np

from jax_vtm.models import create_model

TORCH = Path(__file__).parents[1] / "golden" / "torch"


@dataclasses.dataclass(frozen=True)
class RecordedTensors:
    """One recorded model.

    Attributes:
        kind: Its name in the manifest.
        preset: Ours.
        prefix: What all recorded names begin with.
        head: Name of the layer that predicts, without the prefix.
        containers: Keys under which the released files hold their tensors.
        other: A kind whose file this model must refuse.
    """

    kind: str
    preset: str
    prefix: str
    head: str
    containers: tuple[str, ...]
    other: str

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that was recorded under a parameter's name."""
        with np.load(TORCH / f"model_{self.kind}.npz") as file:
            return {name: file[name] for name in file.files if name.startswith("param")}

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """The file's tensors, in a dict that a test may change."""
        return {name.removeprefix("param/"): a for name, a in self.arrays.items() if name.startswith("param/")}

    @property
    def two_heads(self) -> dict[str, np.ndarray]:
        """The tensors of the variant with the heads verb and noun."""
        one = {name: a for name, a in self.tensors.items() if not name.startswith(f"{self.prefix}{self.head}.")}
        extra = {name.removeprefix("param_ek/"): a for name, a in self.arrays.items() if "param_ek/" in name}
        return one | extra

    @functools.cached_property
    def model(self):
        """The recorded architecture."""
        size = json.loads((TORCH / "manifest.json").read_text())["models"][self.kind]["config"]
        return create_model(
            self.preset,
            num_classes=10,
            image_size=size["image"],
            num_frames=size["frames"],
            patch_size=(size["tubelet"], size["patch"], size["patch"]),
            hidden_size=size["dim"],
            num_heads=size["heads"],
            num_layers=size["depth"],
            mlp_dim=size["dim"] * size["mlp_ratio"],
        )


RECORDED = {
    entry.kind: entry
    for entry in (
        RecordedTensors("vivit", "vivit_b_16x2", "", "classifier", (), "videomae"),
        RecordedTensors("timesformer", "timesformer_b_8", "model.", "head", ("model_state",), "motionformer"),
        RecordedTensors("motionformer", "motionformer_b_16", "", "head", ("model_state",), "videomae"),
        RecordedTensors("videomae", "videomae_b_16", "model.", "head", ("module", "model"), "timesformer"),
    )
}
