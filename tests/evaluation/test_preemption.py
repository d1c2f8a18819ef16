import os
import signal
import threading
import time

import pytest

from jax_vtm.errors import Stopped
from jax_vtm.evaluation import Processes


def test_a_signal_ends_nothing_until_somebody_looks():
    before = signal.getsignal(signal.SIGTERM)
    with Processes(300.0) as alone:
        alone.check_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match=r"^the evaluation was stopped by SIGTERM. What is evaluated is kept;"):
            alone.check_stop()
    assert signal.getsignal(signal.SIGTERM) == before


def test_one_that_does_not_look_in_time_is_ended(monkeypatch, capsys):
    ended, codes = threading.Event(), []
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    with Processes(300.0, grace_s=0.05):
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(5)
    assert codes == [4]
    assert "stopped by SIGTERM; given up after 0.05 s in the middle of a batch. What is" in capsys.readouterr().err


def test_one_that_has_looked_is_left_in_peace(monkeypatch):
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail("ended"))
    with Processes(300.0, grace_s=0.05) as alone:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            alone.check_stop()
        time.sleep(0.2)


def test_other_threads_can_use_it_too():
    before = signal.getsignal(signal.SIGTERM)

    def use():
        with Processes(300.0) as alone:
            alone.check_stop()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
