"""What `parity.json` holds, made up: every decision alike, a near tie, or a decision that rounding does not explain."""


def matching(removed=100, targets=100, positions=400, scores=5e-7, gap=None):
    return {
        "removed": {"alike": removed, "of": 100},
        "targets": {"alike": targets, "of": removed},
        "positions": {"alike": positions, "of": 400},
        "scores": scores,
        "gap": gap,
    }


def parity(second=None, **changes):
    """Two layers; `second` is what layer 1 decided."""

    def layer(name, tokens, own, replayed, groups=None, decided=None):
        apart = {
            "own": {"largest": 3 * own, "relative": own},
            "replayed": {"largest": 3 * replayed, "relative": replayed},
            "noise_floor": {"largest": 2e-6, "relative": 4e-7},
        }
        if groups is not None:
            apart["own"]["groups_alike"], apart["noise_floor"]["groups_alike"] = groups, 1.0
        return {"name": name, "tokens": tokens, **apart, "matching": decided}

    flipped = second is not None
    return {
        "schema_version": 3,
        "command": "parity",
        "name": "torch_parity",
        "model": {
            "preset": "vivit_moving_digits",
            "library_class": "VivitForVideoClassification",
            "input_shape": [16, 64, 64, 3],
            "parameters": 200000,
            "weights": "random, seed 0",
        },
        "reduction": {"r": 100, "mode": "merge", "repeat_layer": None},
        "tokens_per_layer": [513, 413, 313],
        "clips": ["a", "b"],
        "attention": {"pytorch": "sdpa", "noise_floor": "eager", "jax": "auto"},
        "layers": [
            layer("embedding", 513, 0.0, 0.0),
            layer("layer 0", 413, 3e-7, 3e-7, 1.0, matching()),
            layer("layer 1", 313, 1e-3 if flipped else 4e-7, 4e-7, 0.995 if flipped else 1.0, second or matching()),
            layer("logits", None, 2e-5 if flipped else 5e-7, 5e-7),
        ],
        "same_class": 2,
        "measured": {
            "clips_per_s": {side: {"median": 10.0, "low": 9.0, "high": 11.0} for side in ("pytorch", "jax")},
            "ratio": {"median": 1.5, "low": 1.35, "high": 1.75, "lowest": 1.2, "highest": 2.0},
            "rounds": [{"pytorch": 10.0, "jax": speed} for speed in (15.0, 20.0, 12.0)],
            "calls_per_round": {"pytorch": 1, "jax": 1},
            "load_average": 2.0,
        },
        "environment": {
            **{"python": "3.11", "jax": "0.10.2", "jax_vtm": "0.1.0", "torch": "2.13.0", "transformers": "5.24.0"},
            **{"threads": 2, "cores": 2, "num_devices": 1, "device_kind": "cpu", "dtype": "float32"},
        },
        **changes,
    }


ALIKE = parity()
NEAR_TIE = parity(matching(targets=99, gap=6e-8))
OTHER_ORDER = parity(matching(positions=398, gap=6e-8))
UNEXPLAINED = parity(matching(removed=98, targets=98, positions=350, gap=1e-3))
