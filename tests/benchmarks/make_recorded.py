"""Makes `jax_vtm/benchmarks/recorded_models.json` from what tests/golden has of the PyTorch reference's models.

    python tests/benchmarks/make_recorded.py

Their parameters and clips are draws of PyTorch's generator, one after the other, each scaled and some moved; so the
file has the seed and the scales in place of two megabytes of numbers. The test of it compares what is drawn with what
is recorded, number by number.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

sys.path.append(str(pathlib.Path(__file__).parents[1] / "models"))
# isort: split
from recorded import RECORDED, Recorded, follow_indices, reduction_of
from tiny_models import PRESET_OF

from jax_vtm.benchmarks.recorded import normal_numbers

PATH = pathlib.Path(__file__).parents[2] / "jax_vtm" / "benchmarks" / "recorded_models.json"
CASE = "merge"
# Clips are of a seed of their own.
VIDEO_SEED = 5


def made(recorded: Recorded) -> dict:
    """Everything that is shipped of one model."""
    arrays, size = recorded.arrays, recorded.manifest["config"]
    reduction = reduction_of(recorded.cases[CASE])
    (_, trace), _ = recorded.run(reduction)
    # In our order of tokens; in the reference's they are what is recorded.
    memberships = [np.asarray(state.membership) for state in trace.layers]
    for found, expected in zip(grouped(recorded, memberships), recorded_groups(recorded), strict=True):
        np.testing.assert_array_equal(found, expected)
    return {
        "preset": PRESET_OF[recorded.kind],
        "fields": {
            "num_classes": size["classes"],
            "image_size": size["image"],
            "num_frames": size["frames"],
            "patch_size": [size["tubelet"], size["patch"], size["patch"]],
            "hidden_size": size["dim"],
            "num_heads": size["heads"],
            "num_layers": size["depth"],
            "mlp_dim": size["dim"] * size["mlp_ratio"],
        },
        "reduction": {"r": reduction.r, "proportional_attention": reduction.proportional_attention},
        "seed": recorded.manifest["seed"],
        "tensors": _described(recorded.state_dict(), recorded.manifest["seed"]),
        "video": {"seed": recorded.manifest["seed"] + VIDEO_SEED, "shape": arrays["video"].shape},
        "logits": arrays[f"{CASE}/{recorded.logits}"].tolist(),
        "unmerged_logits": arrays[f"base/{recorded.logits}"].tolist(),
        "memberships": [one.tolist() for one in memberships],
    }


def grouped(recorded: Recorded, memberships: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Membership of a clip's tokens after each layer, as that of the groups by themselves."""
    groups = recorded.groups(memberships[-1][:, recorded.outside :]).shape[0]
    found = []
    for one in memberships:
        left = one.max() + 1 - recorded.outside
        found.append(recorded.group_membership(one, left * len(one) // groups))
    return found


def recorded_groups(recorded: Recorded) -> Iterator[np.ndarray]:
    """The same, from the recorded indices."""
    found = None
    for layer in range(recorded.manifest["config"]["depth"]):
        found = follow_indices(recorded.arrays, CASE, layer, found)
        yield found


def _described(tensors: dict[str, np.ndarray], seed: int) -> dict[str, dict | list]:
    """Shape, scale and what is added; the numbers themselves where PyTorch draws so few in another way."""
    described, numbers = {}, normal_numbers(seed, sum(tensor.size for tensor in tensors.values()) // 16 * 16)
    for name, tensor in tensors.items():
        if tensor.size < 16:
            described[name] = tensor.tolist()
            continue
        own, numbers = np.split(numbers, [tensor.size])
        scale, location = np.polyfit(own, tensor.ravel(), 1).round(3).tolist()
        described[name] = {"shape": tensor.shape, "scale": scale, **({"location": location} if location else {})}
    return described


if __name__ == "__main__":
    models = ",\n".join(f"{json.dumps(kind)}: {json.dumps(made(one))}" for kind, one in RECORDED.items())
    PATH.write_text(f"{{\n{models}\n}}\n")
