"""A TPU's compiler: what is read out of its programs' text, and, where libtpu is there, that everything compiles."""

import itertools
import json
import math
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas
from tiny_models import PRESET_OF, tiny, tiny_factorised

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import command
from jax_vtm.benchmarks import compile as compile_module
from jax_vtm.benchmarks.compile import evaluation_step, measure
from jax_vtm.benchmarks.kernel_work import kernel_cycles, kernels
from jax_vtm.benchmarks.program import own_cache
from jax_vtm.benchmarks.tpu_chips import CHIPS, tpu_devices
from jax_vtm.benchmarks.tpu_program import collectives, operations
from jax_vtm.config import config_folder, default_config, load_config
from jax_vtm.errors import UserError
from jax_vtm.merging import MATCHINGS, MERGINGS, Reduction
from jax_vtm.models.attention import BACKENDS

BLOCK = "jit(spread)/shard_map/ViViT/Transformer/encoderblock_0"
TEXT = f"""HloModule jit_spread, is_scheduled=true

%moves (p: f32[4,8]) -> f32[8,4] {{
  %p = f32[4,8]{{1,0:T(8,128)}} parameter(0)
  ROOT %t = f32[8,4]{{1,0:T(8,128)}} transpose(%p), dimensions={{1,0}}
}}

%computes (p.1: f32[4,8]) -> f32[4,8] {{
  %p.1 = f32[4,8]{{1,0:T(8,128)}} parameter(0)
  ROOT %e = f32[4,8]{{1,0:T(8,128)}} exponential(%p.1)
}}

%body (p.2: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {{
  %f.1 = f32[4,8]{{1,0:T(8,128)}} fusion(%g), kind=kLoop, calls=%computes, metadata={{op_name="{BLOCK}/MultiHeadDotProductAttention_0/exp"}}, backend_config={{"window_config":{{"estimated_cycles":"7"}}}}
}}

ENTRY %main (a: f32[4,8]) -> f32[8,4] {{
  %a = f32[4,8]{{1,0:T(8,128)}} parameter(0), metadata={{op_name="arrays[0]"}}
  %c = f32[4,8]{{0,1:T(8,128)(2,1)}} copy(%a), metadata={{op_name="jit(spread)/shard_map/reshape"}}, backend_config={{"window_config":{{"estimated_cycles":"100"}}}}
  %w = (s32[]{{:T(128)}}, f32[4,8]{{1,0}}) while(%i), condition=%cond, body=%body, backend_config={{"known_trip_count":{{"n":"5"}}}}
  %s = (f32[2,1000]{{1,0:T(8,128)}}, s32[2,1000]{{1,0}}) sort(%x, %y), dimensions={{1}}, to_apply=%less, metadata={{op_name="{BLOCK}/TokenReduction_0/matching/sort"}}
  %m = f32[4,8]{{1,0}} fusion(%z), kind=kLoop, calls=%computes, metadata={{op_name="{BLOCK}/TokenReduction_0/scatter-add"}}, backend_config={{"window_config":{{"estimated_cycles":"11"}}}}
  %r = f32[4]{{0}} all-reduce-start(%m), to_apply=%add
  %r.1 = f32[4]{{0}} all-reduce-done(%r)
  ROOT %f = f32[8,4]{{1,0}} fusion(%m), kind=kLoop, calls=%moves, metadata={{op_name="{BLOCK}/MlpBlock_0/Dense_0/transpose"}}, backend_config={{"window_config":{{"estimated_cycles":"13"}}}}
}}
"""  # noqa: E501


def test_cycles_are_of_what_they_were_spent_on():
    schedule = operations(TEXT)
    assert [(one.group, one.cycles) for one in schedule if one.cycles] == [
        ("input and embedding", 100),
        ("attention", 5 * 7),
        ("merging", 11),
        ("copies and layout changes", 13),
    ]
    assert collectives(schedule) == {"all-reduce": 1}
    # Two rows of 1024 numbers in two operands; 10 (10 + 1) / 2 steps.
    assert {one.group: one.sort_cycles for one in schedule if one.sort_cycles} == {"matching": 4 * 55}


def test_a_loop_without_an_end_is_refused():
    with pytest.raises(ValueError, match="how often it runs"):
        operations(TEXT.replace("known_trip_count", "something"))


def test_work_of_a_kernel_by_arithmetic():
    def kernel(left, right, out):
        out[...] = jnp.exp(jnp.dot(left[...], right[...], preferred_element_type=jnp.float32) * 2)

    def call(left, right):
        with jax.named_scope("encoderblock_0"):
            return pallas.pallas_call(
                kernel,
                grid=(4, 3),
                in_specs=[
                    pallas.BlockSpec((8, 64), lambda row, column: (row, 0)),
                    pallas.BlockSpec((64, 128), lambda row, column: (0, column)),
                ],
                out_specs=pallas.BlockSpec((8, 128), lambda row, column: (row, column)),
                out_shape=jax.ShapeDtypeStruct((32, 384), jnp.float32),
            )(left, right)

    shapes = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((32, 64), (64, 384)))
    traced = jax.make_jaxpr(jax.jit(call))(*shapes)
    ((path, work),) = kernels(traced, 128)
    assert "encoderblock_0" in path
    # The 64 that are summed fill half of the unit.
    assert work["products"] == 12 * 8 * 128 * 128
    assert (work["elementwise"], work["exponentials"]) == (12 * 8 * 128, 12 * 8 * 128)
    # Rows of the left change with the outer axis alone.
    assert work["bytes"] == 4 * 8 * 64 * 2 + 12 * 64 * 128 * 2 + 12 * 8 * 128 * 4
    assert kernel_cycles(traced, CHIPS["v5e"]) == {path: math.ceil(work["bytes"] * 1.5e9 / 819e9)}


def test_without_libtpu_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    config = default_config("tiny")
    config.model.name = "vivit_moving_digits"
    config.benchmark.what = "compile"
    with pytest.raises(UserError, match=r"""pip install "jax_vtm\[tpu\]"$"""):
        list(measure(config, pathlib.Path()))


@pytest.fixture(scope="session")
def libtpu():
    """Skips what needs the compiler where it is not installed."""
    pytest.importorskip("libtpu", reason='needs libtpu: pip install "jax_vtm[tpu]"')


@pytest.mark.tpu
@pytest.mark.usefixtures("libtpu")
def test_topologies_that_there_are_not_are_named():
    with pytest.raises(UserError, match="topology is 'v9:2x2': known chips are v4, v5e"):
        tpu_devices("v9:2x2")
    with pytest.raises(UserError, match=r"topology is 'v5e:1x7'.*Expected one such as v5e:2x2"):
        tpu_devices("v5e:1x7")


@pytest.mark.tpu
@pytest.mark.usefixtures("libtpu")
def test_command_leaves_rows_and_page_and_goes_on(tmp_path, capsys, monkeypatch):
    config = default_config("tiny")
    config.model.update({"name": "vivit_moving_digits", "dtype": "bfloat16"})
    config.benchmark.what = "compile"
    config.benchmark.grids = (
        {"reduction.r": (0, 64), "topology": "v6e:2x4"},
        {"model.attention": "cudnn", "topology": "v6e:2x4"},
    )
    assert command.run(config, tmp_path) == exit_codes.SUCCESS
    rows = [json.loads(line) for line in (tmp_path / "benchmark_compile.jsonl").read_text().splitlines()]
    unmerged, merged, failed = rows
    assert (unmerged["r"], merged["r"], merged["mode"], merged["batch"]) == (0, 64, "merge", 1)
    assert (merged["chips"], merged["hosts"], merged["collectives"]) == (8, 2, {})
    assert merged["estimated_ms"] > merged["kernel_ms"] >= 0 < merged["roofline_ms"]
    assert merged["speedup"] == pytest.approx(unmerged["estimated_ms"] / merged["estimated_ms"])
    assert merged["share_of_mac_ratio"] == pytest.approx(merged["speedup"] / merged["mac_ratio"])
    assert min(merged[key] for key in ("compile_cpu_s", "temp_bytes", "bytes_accessed")) > 0
    assert merged["groups"]["matching"] > 0 < merged["groups"]["merging"]
    assert unmerged["groups"]["matching"] == unmerged["groups"]["merging"] == 0
    assert not failed["compiles"]
    assert "cudnn" in failed["reason"]
    assert "estimate" in capsys.readouterr().out
    page = (tmp_path / "benchmark_compile" / "report.html").read_text()
    assert "nothing ran on any TPU or GPU" in page
    assert "vivit_moving_digits; bfloat16; clips per chip: 1; v6e:2x4" in page

    # A stopped run goes on: what does not compile is tried again, and so is all of other settings.
    monkeypatch.setattr(compile_module, "evaluation_step", lambda *_: pytest.fail("compiled again"))
    assert command.run(config, tmp_path) == exit_codes.SUCCESS
    again = [json.loads(line) for line in (tmp_path / "benchmark_compile.jsonl").read_text().splitlines()]
    assert again == rows
    config.model.dtype = "float32"
    with pytest.raises(pytest.fail.Exception):
        command.run(config, tmp_path)


@pytest.mark.tpu
@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize(("topology", "hosts"), [("v5e:2x2", 1), ("v5e:4x4", 4)])
def test_vivit_at_full_size_spends_its_time_on_what_it_is_for(topology, hosts):
    """With slack: a copy of the clips, moves around the kernel or slow merging would break what is asserted.

    So would sorts and gathers of each layer's own shape: they took twice as long to compile as all the rest.
    """
    config = load_config(config_folder() / "benchmark_tpu_compile.py")
    config.benchmark.axes = f"model.name=vivit_b_16x2 reduction.r=0,300 topology={topology}"
    *_, results = measure(config, pathlib.Path())
    unmerged, merged = results["rows"]

    def share(row, *groups):
        return sum(row["groups"][name] for name in groups) / sum(row["groups"].values())

    for row in (unmerged, merged):
        assert (row["reason"], row["hosts"], row["collectives"]) == ("", hosts, {})
        assert row["pairs"] == []
        assert share(row, "copies and layout changes") < 0.05
    assert share(unmerged, "input and embedding") < 0.06
    assert share(merged, "matching", "merging") < 0.08
    assert merged["sorts"] == 0
    assert merged["compile_cpu_s"] < 6.5 * unmerged["compile_cpu_s"]
    assert unmerged["share_of_roofline"] > 0.5
    assert merged["speedup"] > 2.2
    assert unmerged["temp_bytes"] < 2**30


@pytest.mark.tpu
@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize(
    ("name", "copies", "of_roofline"), [("timesformer_b_8", 0.08, 0.4), ("motionformer_b_16", 0.1, 0.32)]
)
def test_class_tokens_frames_and_groups_are_not_laid_out_anew(name, copies, of_roofline):
    """With slack, of three layers: copies were a seventh of them or more, and shares of the roofline 35 and 26 %."""
    config = load_config(config_folder() / "benchmark_tpu_compile.py")
    config.benchmark.axes = f"model.name={name} reduction.r=18 model.num_layers=3 topology=v5e:2x2"
    *_, results = measure(config, pathlib.Path())
    (row,) = results["rows"]
    assert (row["reason"], row["pairs"], row["sorts"]) == ("", [], 0)
    assert row["groups"]["copies and layout changes"] < copies * sum(row["groups"].values())
    assert row["share_of_roofline"] > of_roofline


# Every mode, every backend of each kind and every chip at least once.
MODES = ("merge", "random_merge", "drop", "random_drop", "hybrid")
TOPOLOGIES = ("v5e:2x2", "v4:2x2x1", "v5p:2x2x1", "v6e:2x4")
ATTENTIONS = [name for name in BACKENDS if name != "cudnn"]
AXES = (MODES, ATTENTIONS, MATCHINGS, MERGINGS, TOPOLOGIES)
ZIPPED = list(itertools.islice(zip(*map(itertools.cycle, AXES), strict=False), max(map(len, AXES))))


@pytest.mark.tpu
@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize(
    ("mode", "attention", "matching", "merging", "topology"), [("none", "auto", "auto", "auto", "v5e:2x2"), *ZIPPED]
)
@pytest.mark.parametrize("kind", [*PRESET_OF, "factorised"])
def test_every_model_mode_and_backend_compiles(kind, mode, attention, matching, merging, topology):
    reduction = Reduction(r=3, mode=mode, threshold=0.5) if mode != "none" else None
    backends = {"attention": attention, "matching": matching, "merging": merging}
    fields = {**backends, "dtype": jnp.bfloat16, "platform": "tpu"}
    model = tiny_factorised(reduction, **fields) if kind == "factorised" else tiny(kind, reduction, **fields)
    with own_cache(False):
        compiled = evaluation_step(model, 2, tpu_devices(topology)).lower().compile()
    assert not collectives(operations(compiled.as_text()))


@pytest.mark.tpu
@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize("fields", [{"mean": "norm_preserving"}, {"mode": "drop,hybrid", "importance": "shift"}])
def test_other_ways_to_merge_and_choose_compile(fields):
    model = tiny("vivit", Reduction(r=3, threshold=0.5, **fields), dtype=jnp.bfloat16, platform="tpu")
    with own_cache(False):
        assert evaluation_step(model, 2, tpu_devices("v5e:2x2")).lower().compile()
