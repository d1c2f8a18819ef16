"""The study of layers: reduces tokens in one layer alone, once or several times in a row.

Follows the layer duplication of "Video, How Do Your Tokens Merge?" (Pollard & Wray, 2025). Merged tokens are counted on
a few clips and drawn for one.
"""

import dataclasses
import hashlib
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
from jax_vtm.evaluation.auto import with_fastest_backends
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.results import SCHEMA_VERSION, summarise, without_details
from jax_vtm.evaluation.run_names import UNMERGED, effective, run_name
from jax_vtm.evaluation.run_pass import check_readable, run_pass, write_predictions
from jax_vtm.evaluation.trackers import open_trackers
from jax_vtm.files import AnyPath
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import FactorisedTrace, Trace, groups_per_layer, seen_pixels
from jax_vtm.reports import Page, Picture, draw_groups
from jax_vtm.reports.merged_tokens import sheet_of, spread_frames
from jax_vtm.studies.layers_page import layers_headline, layers_page, layers_table
from jax_vtm.studies.mixing import Mixing, mixing

CLIPS = 16  # first views of videos, whose merged tokens are counted

_AXES = {
    "r": whole(1, "a whole number of tokens"),
    "times": whole(1, "a whole number of times"),
    "layers": whole(0, "the number of a layer"),
}


class OneLayer(NamedTuple):
    """A reduction of r tokens in one layer, so many times in a row."""

    layer: int
    times: int
    r: int


def read_layers(config: Config) -> dict[OneLayer, Reduction]:
    """Returns the reductions of all combinations of `config.study`'s r, times and layers.

    Raises:
        UserError: A value is out of range, or nothing is reduced.
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
    layers = config.study.layers or range(len(build.model(config, no_reduction()).tokens_per_layer) - 1)
    grid = {"r": r, "times": config.study.times, "layers": layers}
    found = {}
    for values in combinations(grid, _AXES, "config.study"):
        one = OneLayer(values["layers"], values["times"], values["r"])
        amounts = (0,) * one.layer + (one.r,) * one.times
        repeat = (one.layer, one.times) if one.times > 1 else None
        found[one] = effective(dataclasses.replace(base, r=amounts, inflection=0.0, repeat_layer=repeat))
    return found


def study_layers(config: Config, workdir: AnyPath, folder: AnyPath) -> tuple[dict[str, Any], Page, str, dict[str, str]]:
    """Evaluates each layer's reduction in one pass over the videos, which resumes after a stop.

    Returns:
        The results, their page, its headline, and tables by file name.
    """
    reductions = read_layers(config)
    unmerged = build.model(config, no_reduction())
    params = build.inference_params(config, unmerged)
    variants = [Variant(UNMERGED, unmerged, params)]
    variants += [Variant(run_name(one), build.model(config, one), params) for one in reductions.values()]
    variants = with_fastest_backends(variants)
    source, protocol = build.videos(config, unmerged), build.protocol(config, unmerged)
    # The names of the runs replace `config.reduction`.
    found = build.fingerprint(config, source, protocol).items()
    fingerprint = {key: value for key, value in found if not key.startswith("reduction.")}
    fingerprint["runs"] = names = [variant.name for variant in variants]
    # A study of other layers in the same workdir has its own folder.
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
            by_layer = dict(zip(reductions, variants[1:], strict=True))
            found, picture = _trace(by_layer, source, protocol, evaluation.indices)
        trackers.evaluated(results)
    for run in results["runs"][1:]:
        run["one_layer"] = found[run["name"]]
    results |= {"schema_version": SCHEMA_VERSION, "command": "study", "study": {"what": "layers"}}
    tables = {"layers.csv": layers_table(results).csv()}
    return results, layers_page(results, picture), layers_headline(results), tables


def _trace(
    variants: Mapping[OneLayer, Variant], source: VideoSource, protocol: ClipProtocol, indices: Int[np.ndarray, " n"]
) -> tuple[dict[str, dict[str, Any]], Picture]:
    """Counts and draws the groups of every variant after its layer.

    Returns:
        By variant: layer, times, r, a clip's patch tokens and groups, and the counts of `Mixing` over all clips, whose
        parts are the time indices of the token grid. And a picture.
    """
    wanted = sorted({int(indices[(2 * k + 1) * len(indices) // (2 * CLIPS)]) for k in range(CLIPS)})
    clips = np.stack([load_views(source[index], protocol)[0] for index in wanted])
    model = next(iter(variants.values())).model
    frames = seen_pixels(model, protocol.pictures(clips[0]))
    found, painted = {}, {}
    for one, variant in variants.items():
        groups, counts = _traced(variant, one.layer, clips)
        found[variant.name] = {
            **one._asdict(),
            "clips": len(clips),
            "tokens": int(np.prod(model.grid)),
            "groups": float(np.mean([len(np.unique(row[row >= 0])) for row in groups])),
            **{name: float(np.sum(values)) for name, values in vars(counts).items()},
        }
        painted[one] = spread_frames(draw_groups(frames, groups[0], model.grid, model.patch_size))
    return found, _picture(spread_frames(frames), painted, int(np.prod(model.grid)))


def _traced(variant: Variant, layer: int, clips: np.ndarray) -> tuple[Int[np.ndarray, "n N"], Mixing]:
    """Returns the groups after a layer, and how they mix times."""
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

    # One by one, to save memory.
    parts = [jax.device_get(traced(variant.params, clip[None])) for clip in clips]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _picture(frames: np.ndarray, painted: Mapping[OneLayer, np.ndarray], tokens: int) -> Picture:
    """Draws a clip above the groups of each layer that is repeated most."""
    times = max(one.times for one in painted)
    r = next(one.r for one in painted if one.times == times)
    shown: Sequence[OneLayer] = sorted(one for one in painted if (one.times, one.r) == (times, r))
    layers = ", ".join(str(one.layer) for one in shown)
    caption = (
        f"Frames of one clip; below them the groups of its {tokens} tokens after layers {layers} alone removed {r} "
        f"tokens {times} time{'s' if times > 1 else ''} (or as many as possible). Each group has its mean colour and a "
        "border of its own colour; discarded tokens are black."
    )
    return Picture.from_array("One layer at a time", caption, sheet_of([frames, *(painted[one] for one in shown)]))
