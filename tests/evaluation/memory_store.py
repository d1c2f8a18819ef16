"""What processes share, here within one: they are threads, which is enough to see what they say to each other."""

import threading
import time


class MemoryStore:
    def __init__(self):
        self.values: dict[str, bytes] = {}
        self.most = 0
        self._changed = threading.Condition()

    def put(self, name: str, value: bytes) -> None:
        with self._changed:
            self.values[name] = value
            self.most = max(self.most, sum(len(value) for value in self.values.values()))
            self._changed.notify_all()

    def get(self, name: str, timeout_s: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: name in self.values, timeout_s)
            return self.values.get(name)

    def under(self, prefix: str) -> dict[str, bytes]:
        with self._changed:
            start = f"{prefix}/"
            return {name.removeprefix(start): value for name, value in self.values.items() if name.startswith(start)}

    def delete(self, name: str) -> None:
        with self._changed:
            del self.values[name]


class FrozenStore(MemoryStore):
    """As if process 0 did not answer: whoever asks waits."""

    def put(self, name: str, value: bytes) -> None:
        time.sleep(60)
