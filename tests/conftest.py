"""Settings that must stand before jax starts, checked array types, and the recorded data."""

import atexit
import importlib.metadata
import os
import re
import shutil
import tempfile
from pathlib import Path

# Eight simulated devices, and enough threads for them to meet in, however few cores the machine has. The models here
# are tiny, so that nearly all the time goes into compiling: the compiler need not try hard, nor cut a program in parts
# for threads.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NPROC"] = "16"
_FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
# jaxlib ends the process at a flag that it does not know, and later versions do not know all of these.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ["XLA_FLAGS"] = " ".join((*_FLAGS, os.environ.get("XLA_FLAGS", "")))
# Tests, the processes that they start and the workers of a run compile the same tiny programs: once is enough.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# From here on every array annotation in these packages is checked whenever a function is called or traced.
jaxtyping.install_import_hook(["jax_vtm.merging", "jax_vtm.models"], "array_types.checked")

hypothesis.settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _compiled_programs():
    """Takes JAX's cache of compiled programs back from the commands of a test, which name their own."""
    yield
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if jax.config.jax_compilation_cache_dir != os.environ["JAX_COMPILATION_CACHE_DIR"]:
        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
        compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def _bucket_server():
    from bucket_server import bucket_server

    with bucket_server() as proxy:
        yield proxy


@pytest.fixture
def storage(_bucket_server, monkeypatch, request):
    """A server of Google's storage protocol on this machine; its `folder` is the test's own in a bucket."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _bucket_server.address)
    # Orbax has a client of its own.
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", _bucket_server.address)
    monkeypatch.setenv("GCE_METADATA_ROOT", _bucket_server.address.removeprefix("http://"))
    _bucket_server.reset(re.sub(r"[^\w]+", "_", request.node.nodeid.rpartition("/")[2]))
    yield _bucket_server
    _bucket_server.reset()


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the recorded data."""
    return Path(__file__).parent / "golden"
