"""Settings that must stand before jax starts, checked array types, and the recorded data."""

import importlib.metadata
import os
import re
from pathlib import Path

# Eight simulated devices, and enough threads for them to meet in, however few cores the machine has. The models here
# are tiny, so that nearly all the time goes into compiling: the compiler need not try hard, and takes a third of the
# time.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NPROC"] = "16"
_FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
# jaxlib ends the process at a flag that it does not know, and later versions do not know this one.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join((*_FLAGS, os.environ.get("XLA_FLAGS", "")))

import hypothesis  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# From here on every array annotation in these packages is checked whenever a function is called or traced.
jaxtyping.install_import_hook(["jax_vtm.merging", "jax_vtm.models"], "array_types.checked")

hypothesis.settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("ci")


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
