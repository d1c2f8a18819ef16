"""The store of JAX's distributed runtime: small values under names, which all processes of a job see.

It lies in the memory of process 0 and is there as long as that process is.
"""

from typing import Any, Protocol

import jax

# Apart from what JAX keeps in the same store.
_OURS = "jax_vtm/"


class Store(Protocol):
    """What the processes need of a store."""

    def put(self, name: str, value: bytes) -> None:
        """Keeps a value under a name, in place of an earlier one."""
        ...

    def get(self, name: str, timeout_s: float) -> bytes | None:
        """Returns a value, waiting for it to be there; None if it is not in time."""
        ...

    def under(self, prefix: str) -> dict[str, bytes]:
        """Returns all values whose names begin so and go on after a slash, by that rest."""
        ...

    def delete(self, name: str) -> None:
        """Forgets a value."""
        ...


class RuntimeStore:
    """The store that `jax.distributed.initialize` has connected to.

    Every call waits for process 0 to answer, for ever if that process hangs. One that has gone, or whose machine cannot
    be reached any more, ends this process from within JAX.

    Args:
        client: JAX's own.
    """

    def __init__(self, client: Any):
        self._client = client

    def put(self, name: str, value: bytes) -> None:
        """Keeps a value under a name, in place of an earlier one."""
        self._client.key_value_set_bytes(_OURS + name, value, True)

    def get(self, name: str, timeout_s: float) -> bytes | None:
        """Returns a value, waiting for it to be there; None if it is not in time."""
        try:
            return self._client.blocking_key_value_get_bytes(_OURS + name, int(1000 * timeout_s))
        except jax.errors.JaxRuntimeError as error:
            if str(error).startswith("DEADLINE_EXCEEDED"):
                return None
            raise

    def under(self, prefix: str) -> dict[str, bytes]:
        """Returns all values whose names begin so and go on after a slash, by that rest."""
        start = f"{_OURS}{prefix}/"
        return {name.removeprefix(start): value for name, value in self._client.key_value_dir_get_bytes(start)}

    def delete(self, name: str) -> None:
        """Forgets a value."""
        self._client.key_value_delete(_OURS + name)
