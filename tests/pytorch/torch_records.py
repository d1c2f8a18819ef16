"""The PyTorch reference's records, and our tiny Hugging Face models with the recorded weights."""

import dataclasses
import functools
import json
import pathlib

import numpy as np
from hugging_face_names import videomae_of_hugging_face
from safetensors.numpy import save_file

from jax_vtm.merging import Reduction

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "torch"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())


def merge_cases(*functions: str) -> tuple[dict, ...]:
    """The recorded function-level cases, but for those with a distillation token, which no model here has."""
    cases = [case for case in MANIFEST["merge_ops"] if case["function"] in functions and "tokens_in" in case]
    return tuple(case for case in cases if not case.get("distill_token"))


@functools.cache
def merge_arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "merge_ops.npz") as file:
        return {name.split("/", 1)[1]: file[name] for name in file.files if name.startswith(f"{case}/")}


@dataclasses.dataclass(frozen=True)
class RecordedModel:
    """One recorded model: its name in the manifest, and our preset of the kind."""

    kind: str
    preset: str

    @property
    def cases(self) -> dict[str, dict]:
        return {case["id"]: case for case in MANIFEST["models"][self.kind]["cases"]}

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"model_{self.kind}.npz") as file:
            return dict(file)

    @property
    def fields(self) -> dict:
        """The recorded architecture."""
        size = MANIFEST["models"][self.kind]["config"]
        return {
            "num_classes": 10,
            "image_size": size["image"],
            "num_frames": size["frames"],
            "patch_size": (size["tubelet"], size["patch"], size["patch"]),
            "hidden_size": size["dim"],
            "num_heads": size["heads"],
            "num_layers": size["depth"],
            "mlp_dim": size["dim"] * size["mlp_ratio"],
        }

    @property
    def video(self) -> np.ndarray:
        """The clips as [B, T, H, W, 3]."""
        return np.ascontiguousarray(self.arrays["video"].transpose(0, 2, 3, 4, 1))

    def tensors(self) -> dict[str, np.ndarray]:
        """The recorded weights under the names of Hugging Face's files."""
        found = {name.removeprefix("param/"): a for name, a in self.arrays.items() if name.startswith("param/")}
        return found if self.kind == "vivit" else videomae_of_hugging_face(found)

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        """Writes them as a folder that Hugging Face loads."""
        tensors = {name: np.ascontiguousarray(array) for name, array in self.tensors().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder


RECORDED = {
    "vivit": RecordedModel("vivit", "vivit_b_16x2"),
    "videomae": RecordedModel("videomae", "videomae_b_16"),
}


def reduction_of(case: dict) -> Reduction:
    """The settings of one recorded case."""
    patch, r, inflection, repeated = case["patch"], case["r"], 0, case["duplicate"]
    if case["r_form"].startswith("tuple"):
        r, inflection = r
    return Reduction(
        r=r,
        inflection=inflection,
        mode=patch["mode"],
        proportional_attention=patch["prop_attn"],
        head_aggregation=patch["head_aggregation"],
        threshold=patch.get("threshold", 0.0),
        repeat_layer=repeated and (repeated["layer_to_duplicate"], repeated["quantity"]),
    )
