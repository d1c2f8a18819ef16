import os
import signal
import threading
import time

import pytest

from jax_vtm.errors import Stopped
from jax_vtm.evaluation.preemption import Stop


def test_a_signal_ends_nothing_until_somebody_looks():
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match=r"^the evaluation was stopped by SIGTERM. What is evaluated is kept;"):
            stop.check()
    assert signal.getsignal(signal.SIGTERM) == before


def test_who_does_not_look_in_time_is_ended(monkeypatch, capsys):
    ended = threading.Event()
    codes = []
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    with Stop(grace_s=0.05) as stop:
        stop.ask("the evaluation was stopped by SIGTERM")
        assert ended.wait(5)
    assert codes == [4]
    assert "stopped by SIGTERM; given up after 0.05 s in the middle of a batch. What is" in capsys.readouterr().err


def test_who_has_looked_is_left_in_peace(monkeypatch):
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail("ended"))
    with Stop(grace_s=0.05) as stop:
        stop.ask("somebody stopped it")
        with pytest.raises(Stopped):
            stop.check()
        time.sleep(0.2)


def test_other_threads_can_use_it_too():
    before = signal.getsignal(signal.SIGTERM)

    def use():
        with Stop() as stop:
            stop.check()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
