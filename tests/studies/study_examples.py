"""Results of both studies, made up, with round numbers."""

from report_examples import metric, run, two_heads

KINDS = ("unspliced", "random", "same_class", "different_class")


def share(correct: int, count: int = 100) -> dict:
    value = correct / count
    return {"correct": correct, "count": count, "value": value, "low": value - 0.05, "high": value + 0.05}


def layer(kind: str, number: int, mixed: int) -> dict:
    ratio = {"value": mixed / 1000, "low": mixed / 1000 - 0.01, "high": mixed / 1000 + 0.01}
    entry = {"clips": kind, "run": "merge r=9", "layer": number, "merged_tokens": 1000.0, "merged_groups": 400.0}
    entry |= {"share_of_tokens": ratio, "share_of_groups": ratio, "chance_of_tokens": 0.9, "chance_of_groups": 0.8}
    return entry if kind == "unspliced" else entry | {"over_unspliced": {"value": -0.5, "low": -0.52, "high": -0.48}}


def predictions(kind: str, name: str) -> dict:
    head = {"accuracy": share(40)}
    if kind not in ("unspliced", "same_class"):
        head |= {"follows_host": share(41), "follows_donor": share(32), "follows_neither": share(27)}
    entry = {"clips": kind, "run": name, "heads": {"noun": head}}
    return entry if kind == "unspliced" else entry | {"as_unspliced": share(55)}


def splices() -> dict:
    mixed = {"unspliced": 970, "random": 480, "same_class": 502, "different_class": 496}
    facts = {"tubelets": 4, "of": 8, "frames_per_tubelet": 2, "donors": list(KINDS[1:]), "classes": "noun", "seed": 0}
    return {
        "name": "splices",
        "dataset": {"name": "d", "description": "some", "n_videos": 100, "n_ok": 100, "n_failed": 0, "labelled": True},
        "failures": [],
        **{key: two_heads()[key] for key in ("model", "environment")},
        "protocol": {"description": "one clip", "num_clips": 1, "num_crops": 1, "view_average": "logits"},
        "study": facts,
        "runs": [],
        "predictions": [predictions(kind, name) for kind in KINDS for name in ("unmerged", "merge r=9")],
        "layers": [layer(kind, number, mixed[kind] - 100 * (1 - number)) for kind in KINDS for number in (0, 1)],
        "measured": {"created": "2026-11-24T03:00:00Z", "wall_s": 3.0},
    }


def layers() -> dict:
    """An unmerged run and two layers, one and two times."""
    results = two_heads() | {"name": "layers"}
    results["runs"], results["comparison"] = results["runs"][:1], []
    results["runs"][0]["metrics"] = {"top1": metric(2650, 0.9, 0.94)}
    for times in (1, 2):
        for number in (0, 1):
            name, top1 = f"layer {number}, {times}", 0.9 - 0.1 * times * (1 - number)
            entry = run(name, {"mode": "merge", "r": [0] * number + [50] * times}, [513, 463], 1_000_000)
            entry["metrics"] = {"top1": metric(round(2880 * top1), top1 - 0.02, top1 + 0.02)}
            counts = {"merged_tokens": 900.0, "mixed_tokens": 450.0, "chance_tokens": 675.0}
            groups = {"tokens": 512, "groups": 512.0 - 50 * times}
            entry["one_layer"] = {"layer": number, "times": times, "r": 50, "clips": 16, **groups, **counts}
            results["runs"].append(entry)
    return results
