"""The study of layers: all merging in one layer alone, many times in a row, and what each layer makes one token.

Follows the layer duplication of "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025). What becomes one token is
counted on a few clips, and painted over one of them.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Int

from jax_vtm.config import Config
from jax_vtm.config.grid import combinations, whole
from jax_vtm.data import ClipProtocol, VideoSource, load_views
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Processes, ResumeState, Variant, build
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.results import SCHEMA_VERSION, summarise, without_details
from jax_vtm.evaluation.run_names import UNMERGED, effective, run_name
from jax_vtm.evaluation.run_pass import check_readable, run_pass, write_predictions
from jax_vtm.evaluation.trackers import open_trackers
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import FactorisedTrace, Trace, groups_per_layer, seen_pixels
from jax_vtm.reports import Page, Picture, draw_groups
from jax_vtm.reports.merged_tokens import sheet_of, spread_frames
from jax_vtm.studies.layers_page import layers_headline, layers_page, layers_table
from jax_vtm.studies.mixing import Mixing, mixing

# Counted on the first views of so many videos at most, spread over those that could be read.
CLIPS = 16

_AXES = {
    "r": whole(1, "a whole number of tokens"),
    "times": whole(1, "a whole number of times"),
    "layers": whole(0, "the number of a layer"),
}


class Alone(NamedTuple):
    """A layer that alone reduces tokens: which, how often in a row, and by how many each time."""

    layer: int
    times: int
    r: int

    @property
    def amounts(self) -> tuple[int, ...]:
        """Tokens to remove, one entry per step of the layers."""
        return (0,) * self.layer + (self.r,) * self.times


def read_layers(config: Config) -> dict[Alone, Reduction]:
    """Multiplies the lists of `config.study`, r and times outside, so that layers stand next to each other.

    Raises:
        UserError: A value that cannot be, or nothing that reduces.
    """
    base = build.reduction(config)
    if base.mode == "none":
        raise UserError("config.reduction.mode is 'none'; expected one that reduces, such as merge.")
    r = config.study.r or (base.r if isinstance(base.r, int) and base.r else ())
    if not r:
        raise UserError(
            f"config.study.r is empty and config.reduction.r is {base.r}; expected tokens to remove each time: "
            '--config.study.r="(100,)".'
        )
    # Of a factorised encoder, the layers that merge.
    layers = config.study.layers or range(len(build.model(config, no_reduction()).tokens_per_layer) - 1)
    grid = {"r": r, "times": config.study.times, "layers": layers}
    found = {}
    for values in combinations(grid, _AXES, "config.study"):
        one = Alone(values["layers"], values["times"], values["r"])
        repeat = (one.layer, one.times) if one.times > 1 else None
        found[one] = effective(dataclasses.replace(base, r=one.amounts, inflection=0.0, repeat_layer=repeat))
    return found


def study_layers(
    config: Config, workdir: pathlib.Path, folder: pathlib.Path
) -> tuple[dict[str, Any], Page, str, dict[str, str]]:
    """Evaluates the model with each layer alone in one pass over the videos, which goes on where it was stopped.

    Returns:
        The results, their page, its headline, and tables by the names of their files.
    """
    alone = read_layers(config)
    unmerged = build.model(config, no_reduction())
    params = build.inference_params(config, unmerged)
    variants = [Variant(UNMERGED, unmerged, params)]
    variants += [Variant(run_name(one), build.model(config, one), params) for one in alone.values()]
    source, protocol = build.videos(config, unmerged), build.protocol(config, unmerged)
    # In place of `config.reduction`, which says less.
    found = build.fingerprint(config, source, protocol).items()
    fingerprint = {key: value for key, value in found if not key.startswith("reduction.")}
    fingerprint["runs"] = names = [variant.name for variant in variants]
    # A study of other layers in the same workdir leaves this one's predictions alone.
    batches = folder / "resume" / hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    with (
        Processes(config.host_timeout_s) as processes,
        open_trackers(config, workdir) as trackers,
        ResumeState(batches, fingerprint, restart=config.restart) as state,
    ):
        evaluation = run_pass(config, variants, source, protocol, state, processes)
        assert evaluation is not None
        check_readable(evaluation, source)
        results = without_details(summarise(config, variants, evaluation, source, protocol), evaluation, protocol)
        write_predictions(folder / "predictions.npz", evaluation)
        with waiting("tracing what each layer merges"):
            found, picture = _trace(dict(zip(alone, variants[1:], strict=True)), source, protocol, evaluation.indices)
        trackers.evaluated(results)
    for run in results["runs"][1:]:
        run["one_layer"] = found[run["name"]]
    results |= {"schema_version": SCHEMA_VERSION, "command": "study", "study": {"what": "layers"}}
    tables = {"layers.csv": layers_table(results).csv()}
    return results, layers_page(results, picture), layers_headline(results), tables


def _trace(
    alone: Mapping[Alone, Variant], source: VideoSource, protocol: ClipProtocol, indices: Int[np.ndarray, " n"]
) -> tuple[dict[str, dict[str, Any]], Picture]:
    """Looks at what every variant merges in its layer, after that layer.

    Returns:
        By the variants' names: layer, times, r, and over `clips` clips the counts of `Mixing`, its parts being the time
        indices of the token grid; `tokens` and `groups` are a clip's patch tokens before and after. And a picture.
    """
    wanted = sorted({int(indices[(2 * k + 1) * len(indices) // (2 * CLIPS)]) for k in range(CLIPS)})
    clips = np.stack([load_views(source[index], protocol)[0] for index in wanted])
    model = next(iter(alone.values())).model
    frames = seen_pixels(model, protocol.pictures(clips[0]))
    found, painted = {}, {}
    for one, variant in alone.items():
        groups, counted = _traced(variant, one.layer, clips)
        found[variant.name] = {
            **one._asdict(),
            "clips": len(clips),
            "tokens": int(np.prod(model.grid)),
            "groups": float(np.mean([len(np.unique(row[row >= 0])) for row in groups])),
            **{name: float(np.sum(values)) for name, values in vars(counted).items()},
        }
        painted[one] = spread_frames(draw_groups(frames, groups[0], model.grid, model.patch_size))
    return found, _picture(spread_frames(frames), painted, int(np.prod(model.grid)))


def _traced(variant: Variant, layer: int, clips: np.ndarray) -> tuple[Int[np.ndarray, "n N"], Mixing]:
    """Returns the groups after a layer, and what of them is of several times."""
    model = variant.model
    times, *places = model.grid
    per_time = int(np.prod(places))

    @jax.jit
    def traced(params, video):
        rngs = {"reduction": jax.random.key(0)}
        _, trace = cast(
            tuple[Any, Trace | FactorisedTrace], model.apply({"params": params}, video, trace=True, rngs=rngs)
        )
        groups, count = groups_per_layer(trace, class_token=model.has_class_token)[layer]
        part = np.broadcast_to(np.arange(times * per_time) // per_time, groups.shape)
        return groups, mixing(groups, jax.numpy.asarray(part), num_groups=count, part_sizes=[per_time] * times)

    # One by one, since a traced clip may be as large as memory allows.
    parts = [jax.device_get(traced(variant.params, clip[None])) for clip in clips]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _picture(frames: np.ndarray, painted: Mapping[Alone, np.ndarray], tokens: int) -> Picture:
    """Puts a clip above what each layer makes of it, where it is repeated most."""
    times = max(one.times for one in painted)
    r = next(one.r for one in painted if one.times == times)
    shown: Sequence[Alone] = sorted(one for one in painted if (one.times, one.r) == (times, r))
    layers = ", ".join(str(one.layer) for one in shown)
    caption = (
        f"Frames of one clip; below them what layers {layers} alone make of its {tokens} tokens, removing {r} of them "
        f"{times} time{'s' if times > 1 else ''} (or as many as can go). Each group is filled with its mean colour and "
        "edged in a colour of its own; discarded tokens are black."
    )
    return Picture.from_array("One layer at a time", caption, sheet_of([frames, *(painted[one] for one in shown)]))
