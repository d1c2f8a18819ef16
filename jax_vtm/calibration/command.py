"""`calibrate`: searches how many tokens every layer should remove, on a few hundred clips, without training."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jax_vtm.calibration.cost import Cost, Joint, Timed, latency_cost, mac_cost
from jax_vtm.calibration.edges import edge_scores
from jax_vtm.calibration.measure import OBJECTIVES, Clips
from jax_vtm.calibration.page import calibration_page, headline
from jax_vtm.calibration.results import held_out_results, schedule_files
from jax_vtm.calibration.schedules import Calibration
from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource, batches, spread_evenly, without_spread
from jax_vtm.errors import UserError
from jax_vtm.evaluation import Processes, Variant, build, create_eval_step
from jax_vtm.evaluation.auto import with_fastest_backends
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.run_names import UNMERGED, effective
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.evaluation.trackers import open_trackers
from jax_vtm.files import AnyPath, remove_leftovers, write_text
from jax_vtm.lock import held
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models.patch_embedding import folded
from jax_vtm.reports import print_runs

COSTS = ("macs", "latency")


def run(config: Config, workdir: AnyPath) -> int:
    """Searches schedules, evaluates them on held-out videos and writes them; returns the exit code."""
    _check(config)
    build.use_compilation_cache(config.compilation_cache)
    base, plain = build.reduction(config), build.model(config, no_reduction())
    if base.mode == "none" or not isinstance(base.mode, str):
        raise UserError(f"config.reduction.mode is {base.mode!r}; expected one that reduces, such as merge.")
    if base.repeat_layer is not None:
        raise UserError("config.reduction.repeat_layer is set; calibrate itself chooses it: config.calibrate.steps.")
    params = build.inference_params(config, plain)
    # The backends are chosen for the largest and the smallest numbers of tokens that there will be.
    smallest = build.model(config, dataclasses.replace(base, r=plain.tokens_per_layer[0], inflection=0.0))
    unmerged, _ = with_fastest_backends([Variant(UNMERGED, plain, params), Variant("smallest", smallest, params)])
    joint = Joint.of(unmerged.model, base)
    source, protocol = build.videos(config, plain), build.protocol(config, plain)
    count = config.calibrate.clips
    if not 0 < count < len(source):
        raise UserError(
            f"config.calibrate.clips is {count}; expected at least 1, and less than the {len(source)} videos, of which "
            "the others say what the result is worth."
        )
    searched_on, held_out = spread_evenly(source, count), without_spread(source, count)
    whole = build.fingerprint(config, source, protocol).items()
    fingerprint = {key: value for key, value in whole if key != "reduction.r"} | {"calibrate.clips": count}
    with (
        held(workdir / ".lock"),
        Processes(config.host_timeout_s) as processes,
        open_trackers(config, workdir) as trackers,
    ):
        remove_leftovers(workdir)
        passes = workdir / "passes"
        clips = Clips(config, unmerged, searched_on, protocol, passes / "search", fingerprint, processes)
        others = Clips(config, unmerged, held_out, protocol, passes / "held_out", fingerprint, processes)
        cost, timed = _cost(config, joint, unmerged, searched_on, protocol)
        calibration = Calibration(
            joint,
            cost,
            clips,
            config.calibrate.by,
            with_input=config.calibrate.input,
            stepwise=config.calibrate.steps,
        )
        calibration.measure_layers()
        chosen = calibration.choose(
            config.calibrate.budget, config.calibrate.rounds, tolerance=config.calibrate.tolerance
        )
        with waiting("looking at what is merged"):
            edges = edge_scores(joint, unmerged, searched_on, protocol)
        results = held_out_results(config, calibration, chosen, others, unmerged, edges, timed)
        trackers.evaluated(results)
    files = schedule_files(config, calibration, chosen, results, searched_on)
    calibration_page(results).write(workdir)
    files |= {
        "config.json": f"{config.to_json_best_effort(indent=2)}\n",
        "results.json": f"{json.dumps(results, indent=2)}\n",
    }
    for name, text in files.items():
        write_text(workdir / name, text)
    print_runs(results)
    print(headline(results))
    print(f"results in {workdir}: report.html, figures, {', '.join(files)}")
    return code_of_failures(results["dataset"]["n_failed"], config.data.max_failures, "the report")


def _check(config: Config) -> None:
    """Raises a UserError for a value of `config.calibrate` that cannot be."""
    given = config.calibrate
    for key, known in (("by", OBJECTIVES), ("cost", COSTS)):
        if given[key] not in known:
            raise UserError(f"config.calibrate.{key} is {given[key]!r}; expected {' or '.join(known)}.")
    if not given.budget or not all(isinstance(one, float | int) and 0 < one <= 1 for one in given.budget):
        raise UserError(f"config.calibrate.budget is {given.budget}; expected shares of the cost such as 0.4.")
    if not 0 <= given.tolerance < 1:
        raise UserError(f"config.calibrate.tolerance is {given.tolerance}; expected a share of the videos, or 0.")


def _cost(
    config: Config, joint: Joint, unmerged: Variant, source: VideoSource, protocol: ClipProtocol
) -> tuple[Cost, Timed]:
    """Returns what schedules cost, and what was timed for that."""
    if config.calibrate.cost == "macs":
        return mac_cost(joint), Timed()
    size = build.videos_per_device(config, unmerged, protocol)
    batch = next(iter(batches(source, protocol, size)))
    rows = jax.device_put(batch.frames.reshape(folded(batch.frames.shape)))
    indices, params = np.asarray(batch.indices), jax.device_put(unmerged.params)

    def whole(reduction: Reduction) -> Callable[[], Any]:
        model = unmerged.model.clone(reduction=effective(reduction))
        step = jax.jit(create_eval_step(model, config.seed, 0, protocol.mean, protocol.std))
        return lambda: jax.block_until_ready(step(params, rows, indices))

    with waiting("timing layers and models"):
        return latency_cost(joint, whole, size * protocol.num_views)
