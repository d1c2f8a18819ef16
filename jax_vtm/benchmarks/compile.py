"""Evaluation steps by the compilers of TPUs and GPUs that need not be there (`benchmark.what=compile`).

What is compiled is the step of an evaluation as it is: uint8 frames in, logits out, shared among the devices of a
topology by `shard_map`. Nothing runs: times are the estimates of the TPU's compiler, and our arithmetic where it has
none, of kernels and sorts. There are no times of GPUs.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jax_vtm
from jax_vtm.benchmarks.experiments import OURS, Experiment, read_experiments
from jax_vtm.benchmarks.gpu_program import CARDS, gpu_account, gpu_devices, gpu_options
from jax_vtm.benchmarks.kernel_work import kernel_cycles
from jax_vtm.benchmarks.program import own_cache
from jax_vtm.benchmarks.tpu_chips import CHIPS, Chip, tpu_devices
from jax_vtm.benchmarks.tpu_program import GROUPS, collectives, operations, place_of
from jax_vtm.checkpoints.validate import abstract_params
from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build, create_eval_step
from jax_vtm.evaluation.data_parallel import AXIS, DataParallel
from jax_vtm.evaluation.run_names import mode_name
from jax_vtm.files import AnyPath, read_files
from jax_vtm.models import VideoClassifier
from jax_vtm.models.compute import narrowed
from jax_vtm.models.patch_embedding import folded

DEFAULT_TOPOLOGY = "v5e:2x2"
# Where the command keeps rows. A stopped run goes on from there.
ROWS = "benchmark_compile.jsonl"
# Of a row what depends on the others of its run.
_OF_RUN = ("key", "name", "mac_ratio", "compile_ratio", "speedup", "share_of_mac_ratio")


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Compiles every experiment, and yields the rows so far.

    What is in the workdir from before, of the same settings, program and versions, is not compiled again, unless
    `config.restart` says so.

    Raises:
        UserError: No compiler, no such topology, or an experiment that is not of our own step.
    """
    # An accelerator, if there is one, is not needed, and another process may be using it.
    jax.config.update("jax_platforms", "cpu")
    experiments = read_experiments(config)
    for one in experiments:
        if one.implementation != OURS or one.truncated:
            raise UserError(f"benchmark.what=compile compiles evaluation steps as they are; found {one.name!r}.")
    compilers = ("libtpu", "jax-cuda12-plugin")
    versions = {one.name: one.version for one in importlib.metadata.distributions() if one.name in compilers}
    made_by = [_sources(), jax.__version__, sorted(versions.items())]
    earlier = {} if config.restart else _earlier(workdir)
    keys = [hashlib.sha256(json.dumps([one.group, one.task, made_by]).encode()).hexdigest() for one in experiments]
    accounts = [earlier.get(key) for key in keys]
    for number, one in enumerate(experiments, 1):
        said = f"{number} of {len(experiments)}: {one.name}"
        print(f"compiled before, {said}" if accounts[number - 1] else f"compiling {said}", file=sys.stderr, flush=True)
        accounts[number - 1] = accounts[number - 1] or _row(one)
        # Also those that come later, which would be lost if this run is stopped too.
        rows = [
            {"key": key, "name": one.name, "group": one.group, **account}
            for key, one, account in zip(keys, experiments, accounts, strict=True)
            if account
        ]
        baselines = {row["group"]: row for row in rows if row["mode"] == "none" and row["compiles"]}
        compared = [_compared(row, baselines.get(row["group"])) for row in rows]
        yield {"rows": compared, "measured": {"machine": versions}}


def _sources() -> str:
    """Returns a digest of this package's own program."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(jax_vtm.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _earlier(workdir: AnyPath) -> dict[str, dict[str, Any]]:
    """Returns by key what a run before this one has found out about programs that compile."""
    (content,) = read_files([workdir / ROWS])
    try:
        rows = [json.loads(line) for line in (content or b"").splitlines()]
        return {row["key"]: {key: row[key] for key in row if key not in _OF_RUN} for row in rows if row["compiles"]}
    except (ValueError, LookupError, TypeError):
        # Of another version, or damaged: everything is compiled.
        return {}


def _row(one: Experiment) -> dict[str, Any]:
    topology = one.topology or DEFAULT_TOPOLOGY
    devices = gpu_devices(topology) if topology in CARDS else tpu_devices(topology)
    row = {
        "model": one.fields["name"],
        "fields": one.fields,
        "r": 0 if one.is_baseline else one.reduction.r,
        "mode": mode_name(one.reduction.mode),
        "batch": one.batch,
        "dtype": one.fields["dtype"],
        "topology": topology,
        "chips": len(devices),
        "hosts": len({device.process_index for device in devices}),
        "macs_per_clip": one.macs.total,
    }
    try:
        own = one.config.copy_and_resolve_references()
        with own.unlocked(), own.ignore_type():
            own.model.platform = devices[0].platform
        model = build.model(own, one.reduction)
        return {
            **row,
            "compiles": True,
            "reason": "",
            "backends": model.compute.chosen,
            **_account(model, one, devices, topology),
        }
    except (UserError, NotImplementedError, ValueError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        print(f"  does not compile: {reason}", file=sys.stderr, flush=True)
        return {**row, "compiles": False, "reason": reason}


def evaluation_step(model: VideoClassifier, batch: int, devices: Sequence[Any]) -> jax.stages.Traced:
    """Traces the step of an evaluation for devices that need not be there, with so many clips for each."""
    mesh = Mesh(np.array(devices), (AXIS,))

    def shaped(leaf: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    params = jax.eval_shape(lambda weights: narrowed(weights, model.dtype), abstract_params(model))
    params = jax.tree.map(lambda leaf: shaped(leaf, PartitionSpec()), params)
    videos = batch * len(devices)
    frames = jax.ShapeDtypeStruct((videos, 1, *folded(model.input_shape)), jnp.uint8)
    arrays = (shaped(leaf, PartitionSpec(AXIS)) for leaf in (frames, jax.ShapeDtypeStruct((videos,), jnp.int32)))
    program = DataParallel("shard_map", devices).compiled(create_eval_step(model))
    return program.jitted.trace(params, *arrays)


def _account(model: VideoClassifier, one: Experiment, devices: Sequence[Any], topology: str) -> dict[str, Any]:
    with own_cache(False), tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        traced = evaluation_step(model, one.batch, devices)
        compiled = traced.lower().compile(gpu_options(folder) if topology in CARDS else None)
        compile_cpu_s = time.process_time() - start
        text, memory, cost = compiled.as_text(), compiled.memory_analysis(), compiled.cost_analysis() or {}
        if not (text and memory):
            raise ValueError("the compiler says nothing of its program")
        account = {
            "compile_cpu_s": compile_cpu_s,
            "argument_bytes": memory.argument_size_in_bytes,
            "temp_bytes": memory.temp_size_in_bytes,
            "bytes_accessed": cost.get("bytes accessed"),
            "pairs": pairs(text, model),
        }
        if topology in CARDS:
            return {**account, **gpu_account(text, folder)}
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes
    try:
        return {**account, **_times(text, traced.jaxpr, CHIPS[topology.partition(":")[0]], one, moved)}
    except ValueError as error:
        return {**account, "reason": f"compiles, but has no estimate: {error}"}


def _times(text: str, jaxpr: Any, chip: Chip, one: Experiment, moved: int) -> dict[str, Any]:
    schedule = operations(text)
    estimated: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    for operation in schedule:
        estimated[operation.group] += operation.cycles
        ours[operation.group] += operation.sort_cycles
    for path, cycles in kernel_cycles(jaxpr, chip).items():
        ours[place_of(path)] += cycles
    kernel_s, total_s = (sum(cycles.values()) / chip.cycles_per_s for cycles in (ours, estimated + ours))
    roofline_s = max(2 * one.macs.total * one.batch / chip.flop_per_s, moved / chip.bytes_per_s)
    return {
        "groups": {name: estimated[name] + ours[name] for name in GROUPS},
        "kernel_cycles": {name: ours[name] for name in GROUPS if ours[name]},
        "estimated_ms": 1e3 * total_s,
        "kernel_ms": 1e3 * kernel_s,
        "roofline_ms": 1e3 * roofline_s,
        "share_of_roofline": roofline_s / total_s,
        "collectives": collectives(schedule),
        "sorts": sum(operation.opcode == "sort" for operation in schedule),
    }


def pairs(text: str, model: VideoClassifier) -> list[str]:
    """Returns the shapes of arrays in memory with a number for every pair of tokens, or of those that are matched."""
    tokens, num_groups = model.tokens_per_layer[0], getattr(model, "num_groups", 1)
    # Groups are of patches, and attend together with the class token.
    lengths = {tokens} if num_groups == 1 else {tokens // num_groups, tokens // num_groups + 1}
    lengths |= {part for length in lengths for part in ((length + 1) // 2, length // 2)}
    # What is within a fusion stays there.
    in_memory = re.sub(r"^%\S*fus\S* .*?^}", "", text, flags=re.MULTILINE | re.DOTALL)
    shapes = set(re.findall(r"\[([\d,]+)\]", in_memory))
    return sorted(shape for shape in shapes if sum(int(length) in lengths for length in shape.split(",")) > 1)


def _compared(row: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """Adds how many times as fast the row is by the estimates, and which share of the ratio of MACs that is."""
    compared = {key: value for key, value in row.items() if key != "group"}
    if baseline is None or not row["compiles"]:
        return compared
    compared["mac_ratio"] = mac_ratio = baseline["macs_per_clip"] / row["macs_per_clip"]
    compared["compile_ratio"] = row["compile_cpu_s"] / baseline["compile_cpu_s"]
    if "estimated_ms" in row.keys() & baseline.keys():
        compared["speedup"] = speedup = baseline["estimated_ms"] / row["estimated_ms"]
        compared["share_of_mac_ratio"] = speedup / mac_ratio
    return compared
