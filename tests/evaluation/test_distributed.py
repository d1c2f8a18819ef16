import jax
import pytest

from jax_vtm.errors import UserError
from jax_vtm.evaluation import connect, distributed

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
ALL = {"coordinator": "host:1234", "num_processes": 2, "process_id": 1}


@pytest.fixture
def initialized(monkeypatch):
    """What `jax.distributed.initialize` is called with; it does nothing."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: calls.append(arguments))
    return calls


def test_alone_by_default_when_told_so_and_as_one_of_one(initialized, monkeypatch):
    connect()
    connect("host:1", 1, 0)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    connect(mode="off")
    assert initialized == []


def test_three_values_are_all_that_jax_needs(initialized):
    connect(**ALL)
    (arguments,) = initialized
    assert arguments["coordinator_address"] == "host:1234"
    assert (arguments["num_processes"], arguments["process_id"]) == (2, 1)
    assert arguments["cluster_detection_method"] == "deactivate"


@pytest.mark.parametrize(
    ("variables", "count", "name"), [(SLURM, "SLURM_NTASKS", "slurm"), (OPEN_MPI, "OMPI_COMM_WORLD_SIZE", "ompi")]
)
def test_a_cluster_of_several_is_found_and_one_of_one_is_not(initialized, monkeypatch, variables, count, name):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    connect()
    (arguments,) = initialized
    assert arguments["cluster_detection_method"] == name
    assert arguments["coordinator_address"] is None, "JAX finds it"
    monkeypatch.setenv(count, "1")
    assert distributed.find_cluster() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"process_id": None},
            "coordinator is given, but not process_id: outside of Cloud TPU, Slurm and Open MPI all",
        ),
        ({"coordinator": None, "process_id": None}, "num_processes is given, but not coordinator and process_id"),
        ({"coordinator": "host"}, "coordinator is 'host', expected HOST:PORT of process 0"),
        ({"coordinator": "host:99999"}, "coordinator is 'host:99999', expected HOST:PORT"),
        ({"num_processes": 0}, "num_processes is 0, expected at least 1"),
        ({"process_id": 2}, "process_id is 2, expected 0 to 1 with num_processes = 2"),
        ({"mode": "off"}, "mode is 'off', but there are processes to connect"),
        ({"mode": "on"}, "mode is 'on'; known are auto, off"),
    ],
)
def test_values_that_do_not_go_together_are_refused(initialized, changes, message):
    with pytest.raises(UserError, match=message):
        connect(**(ALL | changes))
    assert initialized == []


def test_a_runtime_that_has_begun_is_too_late(monkeypatch):
    jax.devices()
    with pytest.raises(UserError, match=r"the processes cannot be connected: .*must be called before"):
        connect(**ALL)
