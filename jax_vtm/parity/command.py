"""`parity`: compares our model with Hugging Face's in PyTorch, with the same weights, clips and merging."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from jax_vtm.config import Config
from jax_vtm.data import load_views
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.progress import waiting
from jax_vtm.evaluation.results import SCHEMA_VERSION
from jax_vtm.files import AnyPath, write_text
from jax_vtm.models import create_model
from jax_vtm.parity.differences import compare_layers
from jax_vtm.parity.page import parity_page, parity_text
from jax_vtm.parity.sides import jax_tracer, matches_class_token, same_weights, trace_pytorch, uniform_scores
from jax_vtm.pytorch.hugging_face import Comparable, checked, environment, use_threads
from jax_vtm.timing import interleaved, ratios, repeats, spread, timed

OTHER_ATTENTION = {"sdpa": "eager", "eager": "sdpa"}

SECONDS_PER_TIMING = 0.5  # per side and round, at least


def run(config: Config, workdir: AnyPath) -> int:
    """Compares, prints the layers and writes the results to `workdir/parity`; returns the exit code."""
    build.use_compilation_cache(config.compilation_cache)
    with waiting("running both sides layer by layer"):
        results = compare(config)
    parity_page(results).write(workdir, "parity")
    write_text(workdir / "parity" / "parity.json", f"{json.dumps(results, indent=2, allow_nan=False)}\n")
    print(parity_text(results))
    print(f"results in {workdir / 'parity'}: report.html, figures, parity.json")
    return SUCCESS


def compare(config: Config) -> dict[str, Any]:
    """Runs both sides on the same clips; returns the content of `parity.json`.

    Raises:
        UserError: A value is out of range, or Hugging Face has no such model.
    """
    keys = config.parity
    for key, least in (("clips", 1), ("rounds", 1), ("threads", 0)):
        if keys[key] < least:
            raise UserError(f"config.parity.{key} is {keys[key]}; expected {least} or more.")
    if keys.attention not in OTHER_ATTENTION:
        raise UserError(f"config.parity.attention is {keys.attention!r}; known are {', '.join(OTHER_ATTENTION)}.")
    use_threads(keys.threads)
    other_attention = OTHER_ATTENTION[keys.attention]
    model, preset, fields = _model(config)
    variables, theirs = same_weights(
        model, preset, fields, checkpoint=build.checkpoint(config), attention=keys.attention, seed=config.seed
    )
    ids, video = _clips(config, model)

    given = uniform_scores(model, len(video), config.seed) if model.reduction.is_random else None
    reference = trace_pytorch(theirs, video, given)
    ours = jax_tracer(model, variables)
    own = ours(video, given)
    replayed = ours(video, [decision and decision.scores for decision in reference.decisions])
    noise_floor = trace_pytorch(theirs.with_attention(other_attention), video, given)
    # Without a class token among them, the reference layout orders kept tokens by score.
    by_score = not matches_class_token(model) and model.reduction.layout != "fixed"
    classifiers = {"pytorch": theirs.classifier(video), "jax": _classifier(model, variables, video)}
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "parity",
        "name": config.name,
        "model": {
            "preset": preset,
            "library_class": type(theirs.hugging_face).__name__,
            "input_shape": list(model.input_shape),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables)),
            "weights": config.checkpoint or f"random, seed {config.seed}",
        },
        "reduction": {key: list(v) if isinstance(v, tuple) else v for key, v in vars(model.reduction).items()},
        "tokens_per_layer": list(model.tokens_per_layer),
        "clips": ids,
        "attention": {"pytorch": keys.attention, "noise_floor": other_attention, "jax": config.model.attention},
        "layers": compare_layers(own, replayed, noise_floor, reference, order_by_score=by_score),
        "same_class": int((own.logits.argmax(-1) == reference.logits.argmax(-1)).sum()),
        "measured": _measured(classifiers, keys.rounds, len(video)),
        "environment": {**build.environment(config, model), **environment(), "cores": os.cpu_count()},
    }


def _model(config: Config) -> tuple[Comparable, str, dict[str, Any]]:
    """Returns our model with its heads joined to one, the preset's name, and the fields of the PyTorch model."""
    fields = config.model.to_dict()
    if "scenic" in fields:
        raise UserError("parity takes a preset by config.model.name; a model of Scenic's config files is none.")
    model = build.model(config, build.reduction(config))
    # Hugging Face's models have one head.
    total = sum(classes for _, classes in model.heads)
    shared = {key: value for key, value in fields.items() if key not in ("name", "dtype", "attention")}
    return checked(fields["name"], model.clone(num_classes=total)), fields["name"], {**shared, "num_classes": total}


def _clips(config: Config, model: Comparable) -> tuple[list[str], Float32[np.ndarray, "B T H W 3"]]:
    """Loads the first views of some videos, evenly spaced over the source."""
    # The embedded videos have the labels of the embedded model's heads.
    embedded = config.data.name == "moving_digits" and not config.data.path
    labelled = create_model("vivit_moving_digits") if embedded else build.model(config, model.reduction)
    source, protocol = build.videos(config, labelled), build.protocol(config, model)
    count = config.parity.clips
    if count > len(source):
        raise UserError(f"config.parity.clips is {count}; there are {len(source)} videos.")
    items = [source[(2 * k + 1) * len(source) // (2 * count)] for k in range(count)]
    return [item.id for item in items], np.stack([load_views(item, protocol)[0] for item in items])


def _classifier(model: Comparable, variables: Mapping[str, Any], video: np.ndarray) -> Callable[[], object]:
    on_device = jax.device_put((variables, video, jax.random.key(0)))

    @jax.jit
    def classify(variables, video, key):
        return model.apply(variables, video, rngs={"reduction": key})

    return lambda: jax.block_until_ready(classify(*on_device))


def _measured(classifiers: Mapping[str, Callable[[], object]], rounds: int, clips: int) -> dict[str, Any]:
    timers = {name: timed(call) for name, call in classifiers.items()}
    calls = {name: repeats(timer, SECONDS_PER_TIMING) for name, timer in timers.items()}
    seconds = list(interleaved({name: (timer, calls[name]) for name, timer in timers.items()}, rounds))
    clips_per_s = [{name: clips / taken.wall for name, taken in one.items()} for one in seconds]
    speeds = {name: [one[name] for one in clips_per_s] for name in timers}
    factors = ratios(speeds["jax"], speeds["pytorch"])
    return {
        "clips_per_s": {name: spread(values) for name, values in speeds.items()},
        "ratio": {**spread(factors), "lowest": min(factors), "highest": max(factors)},
        "rounds": clips_per_s,
        "calls_per_round": calls,
        # Other programs slow one side more than the other.
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
