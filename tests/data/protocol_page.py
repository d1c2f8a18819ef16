"""The table of docs/protocols.md, from the code: `python tests/data/protocol_page.py` prints it."""

from jax_vtm.data import ClipProtocol, published_protocol
from jax_vtm.data.protocols import PROTOCOLS

MODELS = {
    "vivit": ("ViViT", 32),
    "timesformer": ("TimeSformer", 8),
    "motionformer": ("Motionformer", 16),
    "videomae": ("VideoMAE", 16),
}
DATASETS = {
    "kinetics400": "Kinetics-400",
    "kinetics600": "Kinetics-600",
    "ssv2": "SSv2",
    "epic_kitchens_100": "EPIC-KITCHENS-100",
}
HEADER = (
    "protocol", "model", "data", "clips x crops", "`sampling`", "frames", "`stride`", "short side", "`resize`",
    "mean, std", "colours", "average of views",
)  # fmt: skip
COLOURS = {
    ((0.5,) * 3, (0.5,) * 3): "0.5, 0.5",
    ((0.45,) * 3, (0.225,) * 3): "0.45, 0.225",
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "ImageNet's",
}


def table() -> str:
    """One row for each protocol, model and data set; data sets that are tested alike share one."""
    lines = [_line(HEADER), _line(["---"] * len(HEADER))]
    for name, families in PROTOCOLS.items():
        for family, (model, frames) in MODELS.items():
            shared: dict[ClipProtocol, list[str]] = {}
            for dataset in families.get(family, {}):
                protocol = published_protocol(name, family, dataset, num_frames=frames, crop=224)
                shared.setdefault(protocol, []).append(DATASETS[dataset])
            lines += [_line([f"`{name}`", model, ", ".join(data), *_cells(p)]) for p, data in shared.items()]
    return "\n".join(lines)


def _cells(protocol: ClipProtocol) -> list[str]:
    if protocol.stride is None:
        stride = ""
    else:
        stride = f"{protocol.stride}/{protocol.rate_fps:g} s" if protocol.rate_fps else str(protocol.stride)
    left = ", left" if protocol.single_crop == "first" else ""
    return [
        f"{protocol.num_clips}x{protocol.num_crops}{left}",
        protocol.sampling,
        str(protocol.num_frames),
        stride,
        str(protocol.short_side),
        f"{protocol.resize}{', `fast_jpeg`' if protocol.fast_jpeg else ''}",
        COLOURS[protocol.mean, protocol.std],
        protocol.channels.upper(),
        protocol.view_average if protocol.num_views > 1 else "",
    ]


def strides() -> str:
    """The strides of models of other sizes."""
    lines = [_line(("protocol", "model", "data", "frames x pixels: stride")), _line(["---"] * 4)]
    for name, families in PROTOCOLS.items():
        for family, (model, frames) in MODELS.items():
            for dataset, published in families.get(family, {}).items():
                others = {size: stride for size, stride in published.strides.items() if size != (frames, 224)}
                if others:
                    told = ", ".join(f"{count}x{pixels}: {stride}" for (count, pixels), stride in others.items())
                    lines.append(_line([f"`{name}`", model, DATASETS[dataset], told]))
    return "\n".join(lines)


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(), strides(), sep="\n\n")
