"""`python main.py ladder`: our model beside Hugging Face's in PyTorch, with the same weights, clips and merging."""

import json
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from jax_vtm.config import Config
from jax_vtm.data import load_views
from jax_vtm.errors import UserError
from jax_vtm.files import write_text
from jax_vtm.models import create_model
from jax_vtm.parity.ladder import rungs
from jax_vtm.parity.page import render_ladder
from jax_vtm.parity.sides import Model, climb_pytorch, jax_climber, same_weights, uniform_scores
from jax_vtm.parity.text import format_ladder
from jax_vtm.pytorch import arrays
from jax_vtm.pytorch.hugging_face import checked
from jax_vtm.running import build
from jax_vtm.running.exit_codes import SUCCESS

SCHEMA_VERSION = 1
OTHER_ATTENTION = {"sdpa": "eager", "eager": "sdpa"}

# A side is timed for at least this long in every round, so that a tiny model's clock ticks are not what is compared.
SECONDS_PER_TIMING = 0.5


def run(config: Config, workdir: pathlib.Path) -> int:
    """Climbs, prints the table and writes the results to the workdir's folder `ladder`.

    Returns:
        The exit code.
    """
    build.use_compilation_cache(config.compilation_cache)
    results = climb(config, workdir)
    folder = workdir / "ladder"
    write_text(folder / "report.html", render_ladder(results))
    write_text(folder / "ladder.json", f"{json.dumps(results, indent=2, allow_nan=False)}\n")
    print(format_ladder(results))
    print(f"results in {folder}: report.html, ladder.json")
    return SUCCESS


def climb(config: Config, workdir: pathlib.Path) -> dict[str, Any]:
    """Runs both sides on the same clips; returns what `ladder.json` holds.

    Raises:
        UserError: A value that is out of range, or a model that Hugging Face does not have.
    """
    keys = config.ladder
    for key, least in (("clips", 1), ("rounds", 1), ("threads", 0)):
        if keys[key] < least:
            raise UserError(f"config.ladder.{key} is {keys[key]}; expected {least} or more.")
    if keys.attention not in OTHER_ATTENTION:
        raise UserError(f"config.ladder.attention is {keys.attention!r}; known are {', '.join(OTHER_ATTENTION)}.")
    arrays.use_threads(keys.threads)
    model, preset, fields = _model(config)
    variables, theirs = same_weights(
        model, preset, fields, checkpoint=config.checkpoint, attention=keys.attention, seed=config.seed
    )
    ids, video = _clips(config, model, workdir)

    given = uniform_scores(model, len(video), config.seed) if model.reduction.is_random else None
    reference = climb_pytorch(theirs, video, given)
    ours = jax_climber(model, variables)
    own = ours(video, given)
    replayed = ours(video, [decision and decision.scores for decision in reference.decisions])
    yardstick = climb_pytorch(theirs.with_attention(OTHER_ATTENTION[keys.attention]), video, given)
    found = rungs(own, replayed, yardstick, reference, order_by_score=_order_by_score(model))
    timed = {"pytorch": arrays.classifier(theirs, video), "jax": _classifier(model, variables, video)}
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "ladder",
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
        "attention": {
            "pytorch": keys.attention,
            "yardstick": OTHER_ATTENTION[keys.attention],
            "jax": config.model.attention,
        },
        "rungs": found,
        "same_class": int((own.logits.argmax(-1) == reference.logits.argmax(-1)).sum()),
        "measured": _measured(timed, keys.rounds, len(video)),
        "environment": {**build.environment(config, model), **arrays.environment(), "cores": os.cpu_count()},
    }


def _model(config: Config) -> tuple[Model, str, dict[str, Any]]:
    """Our model with its heads joined to one, the preset's name, and the fields that PyTorch's has to share."""
    fields = config.model.to_dict()
    if "scenic" in fields:
        raise UserError("ladder takes a preset by config.model.name; a model of Scenic's config files is none.")
    model = build.model(config, build.reduction(config))
    # Hugging Face's models have one classifier; ours joins its heads in one projection, too.
    total = sum(classes for _, classes in model.heads)
    shared = {key: value for key, value in fields.items() if key not in ("name", "dtype", "attention")}
    return checked(fields["name"], model.clone(num_classes=total)), fields["name"], {**shared, "num_classes": total}


def _order_by_score(model: Model) -> bool:
    return not model.has_class_token and model.reduction.layout != "fixed"


def _clips(config: Config, model: Model, workdir: pathlib.Path) -> tuple[list[str], Float32[np.ndarray, "B T H W 3"]]:
    """The first view of some videos, spread over the source."""
    # Nobody looks at labels here, but videos are opened with those that they have.
    embedded = config.data.name == "moving_digits" and not config.data.path
    labelled = create_model("vivit_moving_digits") if embedded else build.model(config, model.reduction)
    source, protocol = build.videos(config, labelled, workdir), build.protocol(config, model)
    count = config.ladder.clips
    if count > len(source):
        raise UserError(f"config.ladder.clips is {count}; there are {len(source)} videos.")
    items = [source[(2 * k + 1) * len(source) // (2 * count)] for k in range(count)]
    return [item.id for item in items], np.stack([load_views(item, protocol)[0] for item in items])


def _classifier(model: Model, variables: Mapping[str, Any], video: np.ndarray) -> Callable[[], jax.Array]:
    on_device = jax.device_put((variables, video, jax.random.key(0)))

    @jax.jit
    def classify(variables, video, key):
        return model.apply(variables, video, rngs={"reduction": key})

    return lambda: jax.block_until_ready(classify(*on_device))


def _measured(sides: Mapping[str, Callable[[], Any]], rounds: int, clips: int) -> dict[str, Any]:
    """Times the sides in turn, the other one first in every other round."""
    calls = {}
    for name, side in sides.items():
        side()  # compiles, or allocates
        calls[name] = max(1, math.ceil(SECONDS_PER_TIMING / _seconds(side, 1)))
    clips_per_s = []
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        timed = {name: clips / _seconds(sides[name], calls[name]) for name in order}
        clips_per_s.append({name: timed[name] for name in sides})
    ratios = [timed["jax"] / timed["pytorch"] for timed in clips_per_s]
    return {
        "clips_per_s": {name: statistics.median(timed[name] for timed in clips_per_s) for name in sides},
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "rounds": clips_per_s,
        "calls_per_round": calls,
        # Of the minute that ends here, where the system tells it: what else ran takes from one side more than from
        # the other.
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _seconds(side: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls
