import threading
import time

import pytest
from memory_store import FrozenStore, MemoryStore

from jax_vtm.evaluation import watchdog
from jax_vtm.evaluation.preemption import Stop
from jax_vtm.evaluation.watchdog import Trouble, Watchdog


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(watchdog, "_POLL_S", 0.02)


@pytest.fixture
def member():
    """Starts watchdogs of processes that only note that they end."""
    members = []

    def create(store, index, count=2, timeout_s=60.0):
        ended = threading.Event()
        codes = []

        def end(code):
            codes.append(code)
            ended.set()

        stop = Stop(4, f"process {index} (host)")
        created = Watchdog(
            store,
            index,
            count,
            name=f"process {index} (host)",
            first_name="process 0 (coordinator)",
            timeout_s=timeout_s,
            stop=stop,
            stop_code=4,
            end=end,
        )
        created.start()
        members.append((created, stop))
        created.codes, created.ended, created.stopping = codes, ended, stop
        return created

    yield create
    for created, stop in members:
        created.close()
        stop.__exit__(None, None, None)


def test_a_silent_process_is_named_with_what_it_was_doing(member, capsys):
    store = MemoryStore()
    first, second = member(store, 0, timeout_s=0.5), member(store, 1, timeout_s=60.0)
    second.doing("evaluating")
    for watched in (first, second):
        with watched.waiting("waiting"):
            pass
    # Its main thread may wait for ever, as long as it gives signs of life.
    with first.waiting("waiting"):
        time.sleep(1.0)
        assert not first.codes
        second.close()
        assert first.ended.wait(5)
    assert first.codes == [watchdog.FAILED]
    assert "error: process 1 (host), last evaluating: no sign of life for 0.5 s" in capsys.readouterr().err


def test_a_process_without_progress_says_so_and_ends_the_others(member, capsys):
    store = MemoryStore()
    first, second = member(store, 0), member(store, 1, timeout_s=0.5)
    second.doing("reading from storage")
    assert second.ended.wait(5)
    assert first.ended.wait(5)
    assert (first.codes, second.codes) == ([watchdog.FAILED], [watchdog.FAILED])
    assert capsys.readouterr().err.count("error: process 1 (host) has been reading from storage for 0.5 s.") == 2


def test_the_others_notice_that_the_first_does_not_answer(member, capsys):
    second = member(FrozenStore(), 1, timeout_s=0.4)
    with second.waiting("waiting for process 0"):
        assert second.ended.wait(10)
    assert "error: process 0 (coordinator): no sign of life for 0.4 s" in capsys.readouterr().err


def test_the_first_process_waits_until_the_others_know_why(member, monkeypatch):
    monkeypatch.setattr(watchdog, "_GRACE_S", 60.0)
    store = MemoryStore()
    first, second, third = (member(store, k, count=3) for k in range(3))
    started = time.monotonic()
    first.fail(Trouble("the disk is full", 2))
    assert time.monotonic() - started < 30
    # The others say that they know just before they end.
    deadline = time.monotonic() + 5
    while not (second.codes and third.codes) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (second.codes, third.codes, first.codes) == ([2], [2], [2])


def test_a_stop_of_one_asks_all_and_ends_none(member):
    store = MemoryStore()
    first, second = member(store, 0), member(store, 1)
    second.stopping.ask("process 1 (host) was stopped by SIGTERM")
    deadline = time.monotonic() + 5
    while not first.stopping.reason:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert first.stopping.reason == "process 1 (host) was stopped by SIGTERM"
    time.sleep(0.2)
    assert not first.codes
    assert not second.codes


def test_what_processes_tell_arrives_at_the_first(member):
    store = MemoryStore()
    first, second = member(store, 0), member(store, 1)
    first.report({"videos": 3})
    assert first.reported == [{"videos": 3}, {}]
    second.report({"videos": 4, "counts": {"unmerged": {"videos": 4}}})
    deadline = time.monotonic() + 5
    while first.reported[1] != {"videos": 4, "counts": {"unmerged": {"videos": 4}}}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
