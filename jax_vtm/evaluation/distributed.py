"""Connects the processes of a job through JAX's own distributed runtime, before anything is computed."""

import contextlib
import os
import socket
import sys
import threading
from contextlib import AbstractContextManager

import jax

from jax_vtm.bucket import is_bucket
from jax_vtm.errors import FAILURE, UserError
from jax_vtm.files import AnyPath
from jax_vtm.lock import held

MODES = ("auto", "off")

# Machines that are moved while they run are silent for a few seconds.
SILENT_AT_MOST_S = 60.0
_SHUTDOWN_S = 60
# Longer than the timer, which says what to do where JAX ends the process with a stack trace.
_NEVER_S = 10**6


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    mode: str = "auto",
    timeout_s: float = 300.0,
) -> None:
    """Connects to the other processes, or does nothing if this one is alone. Comes before any use of devices.

    With three values given, or on a Cloud TPU, in a Slurm step or an Open MPI job of several, it waits for all to be
    there. Later, JAX ends all processes if one is silent for a minute, or for `timeout_s` if that is less.

    Args:
        coordinator: "HOST:PORT" of process 0, as the others reach it.
        num_processes: How many processes there are.
        process_id: Which of them this is, from 0.
        mode: "auto" as above; "off" is alone whatever there is.
        timeout_s: Seconds to wait. If the others are not there then, the process is ended.

    Raises:
        UserError: Values that do not go together.
    """
    _check(coordinator, num_processes, process_id, mode)
    # Slurm would otherwise still choose one device of several.
    cluster = "deactivate" if coordinator is not None else find_cluster()
    if mode == "off" or num_processes == 1 or cluster is None:
        return
    late = threading.Timer(timeout_s, _end_alone, [timeout_s])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator,
            num_processes=num_processes,
            process_id=process_id,
            cluster_detection_method=cluster,
            initialization_timeout=_NEVER_S,
            heartbeat_timeout_seconds=max(1, int(min(timeout_s, SILENT_AT_MOST_S))),
            shutdown_timeout_seconds=_SHUTDOWN_S,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes cannot be connected: {error}. config.distributed names coordinator, num_processes and "
            "process_id, in each process; --config.distributed.mode=off evaluates with this process alone."
        ) from error
    finally:
        late.cancel()


def hold_process_id(workdir: AnyPath, process_id: int | None) -> AbstractContextManager[object]:
    """Keeps a second process with the same number out of a workdir; JAX would end the whole job with a stack trace."""
    if process_id is None:
        return contextlib.nullcontext()
    return held(
        workdir / f".process_{process_id}.lock",
        f"config.distributed.process_id is {process_id}, but another process has this number, in this job or in one "
        "that has not ended. Give each process a number of its own, or wait.",
    )


def remove_abandoned_process_ids(workdir: AnyPath) -> None:
    """Removes what killed processes have left of `hold_process_id`."""
    for path in () if is_bucket(workdir) else workdir.glob(".process_*.lock"):
        with contextlib.suppress(UserError), held(path):
            pass


def find_cluster() -> str | None:
    """Returns JAX's name of the cluster that started this process among others; None if it is alone.

    Not Kubernetes, where JAX would ask the cluster's API, which most pods may not.
    """
    env = os.environ
    if "OMPI_MCA_orte_hnp_uri" in env:
        return "ompi" if int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1 else None
    if {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"} <= env.keys():
        return "slurm" if int(env["SLURM_NTASKS"]) > 1 else None
    # JAX sets it, when it is imported, on a machine with TPUs.
    if "TPU_ML_PLATFORM" not in env:
        return None
    if "TPU_WORKER_HOSTNAMES" in env:
        several = "," in env["TPU_WORKER_HOSTNAMES"] or int(env.get("MEGASCALE_NUM_SLICES") or "1") > 1
        return "gketpu" if several else None
    # One worker is then a job of one process.
    return None if "TPU_SKIP_MDS_QUERY" in env else "gcetpu"


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None, mode: str) -> None:
    if mode not in MODES:
        raise UserError(f"config.distributed.mode is {mode!r}; known are {', '.join(MODES)}.")
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    present = [name for name, value in given.items() if value is not None]
    if coordinator is None or num_processes is None or process_id is None:
        if present:
            missing = " and ".join(name for name in given if name not in present)
            raise UserError(
                f"config.distributed.{present[0]} is given, but not {missing}: outside of Cloud TPU, Slurm and Open "
                "MPI all three are needed, in each process."
            )
        return
    if mode == "off":
        raise UserError("config.distributed.mode is 'off', but there are processes to connect; leave one of them out.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError(f"config.distributed.coordinator is {coordinator!r}, expected HOST:PORT of process 0.")
    if num_processes < 1:
        raise UserError(f"config.distributed.num_processes is {num_processes}, expected at least 1.")
    if not 0 <= process_id < num_processes:
        expected = f"0 to {num_processes - 1} with num_processes = {num_processes}"
        raise UserError(f"config.distributed.process_id is {process_id}, expected {expected}.")


def _end_alone(timeout_s: float) -> None:
    message = (
        f"error: {socket.gethostname()}: the processes of this job have not all met within {timeout_s:g} s. Were all "
        "of them started, with the same coordinator, each with a process_id of its own, and can they reach it? "
        "--config.host_timeout_s allows more time."
    )
    print(message, file=sys.stderr, flush=True)
    # The main thread waits in JAX, which would end the process with a stack trace.
    os._exit(FAILURE)
