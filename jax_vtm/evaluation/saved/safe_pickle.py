"""Reads pickles without running them: an interpreter of plain data, in which nothing is ever imported.

A pickle is a program that may call any function there is. Here it runs on a stack of our own; what it can call is a
table that the reader gives, and whatever else it asks for ends the reading.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
# pickletools has decoded what these carry.
_CARRYING = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class RefusedPickle(ValueError):
    """The pickle asks for something that is not in the table; the message says for what."""


class Buildable:
    """What a table's function returns when the pickle is to say more about it afterwards."""

    def build(self, state: Any) -> None:
        """Takes the pickle's word on what the object contains."""
        raise NotImplementedError


class _Global:
    """A name that the pickle has asked for, and what it stands for."""

    def __init__(self, call: Callable[..., Any] | str):
        self.call = call


class _Mark:
    """A place on the stack."""


def load(
    file: IO[bytes],
    known: Mapping[str, Callable[..., Any] | str],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads one pickle, and leaves the file behind its end.

    Args:
        file: Positioned at the pickle's first byte.
        known: What the pickle may name, as "module name": a function that it may call, or a word that stands for
            the name where it is an argument.
        persistent: Turns a persistent id into a value, where the file has such.

    Returns:
        Numbers, text, bytes, lists, tuples, dicts, and whatever the functions return.

    Raises:
        RefusedPickle: It asks for a name or an operation that is not known.
        Exception: It is damaged; of any type.
    """
    return _Machine(known, persistent).run(file)


class _Machine:
    def __init__(self, known: Mapping[str, Callable[..., Any] | str], persistent: Callable[[Any], Any] | None):
        self.known = known
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
            name = opcode.name
            if name in _CARRYING:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _TUPLES:
                self.stack.append(tuple(self.take(_TUPLES[name])))
            elif name == "STOP":
                return self.plain(self.stack.pop())
            else:
                method = getattr(self, f"on_{name.lower()}", None)
                if method is None:
                    raise RefusedPickle(f"the operation {name}")
                method(argument)
        raise EOFError("no end")

    def take(self, count: int) -> list[Any]:
        """Takes the topmost values, in the order in which they were put."""
        if len(self.stack) < count:
            raise ValueError("too few values on the stack")
        values = [self.plain(value) for value in self.stack[len(self.stack) - count :]]
        del self.stack[len(self.stack) - count :]
        return values

    def take_to_mark(self) -> list[Any]:
        for count, value in enumerate(reversed(self.stack)):
            if isinstance(value, _Mark):
                values = self.take(count)
                self.stack.pop()
                return values
        raise ValueError("no mark on the stack")

    def plain(self, value: Any) -> Any:
        """The value as an argument or element: of a name, the word that stands for it."""
        if isinstance(value, _Global):
            if not isinstance(value.call, str):
                raise RefusedPickle("a function as a value")
            return value.call
        if isinstance(value, _Mark):
            raise ValueError("a mark is no value")
        return value

    def named(self, module: object, name: object) -> _Global:
        key = f"{module} {name}"
        if key not in self.known:
            raise RefusedPickle(f"{module}.{name}")
        return _Global(self.known[key])

    def on_proto(self, _) -> None:
        pass

    def on_frame(self, _) -> None:
        pass

    def on_mark(self, _) -> None:
        self.stack.append(_Mark())

    def on_list(self, _) -> None:
        self.stack.append(self.take_to_mark())

    def on_tuple(self, _) -> None:
        self.stack.append(tuple(self.take_to_mark()))

    def on_dict(self, _) -> None:
        self.stack.append(_pairs(self.take_to_mark()))

    def on_append(self, _) -> None:
        values = self.take(1)
        self.top(list).extend(values)

    def on_appends(self, _) -> None:
        values = self.take_to_mark()
        self.top(list).extend(values)

    def on_setitem(self, _) -> None:
        values = self.take(2)
        self.top(dict).update(_pairs(values))

    def on_setitems(self, _) -> None:
        values = self.take_to_mark()
        self.top(dict).update(_pairs(values))

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"expected a {kind.__name__} on the stack")
        return self.stack[-1]

    def on_memoize(self, _) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    on_put = on_long_binput = on_binput

    def on_binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    on_get = on_long_binget = on_binget

    def on_global(self, words: str) -> None:
        self.stack.append(self.named(*words.split(" ", 1)))

    def on_stack_global(self, _) -> None:
        self.stack.append(self.named(*self.take(2)))

    def on_binpersid(self, _) -> None:
        if self.persistent is None:
            raise RefusedPickle("a persistent id")
        (identity,) = self.take(1)
        self.stack.append(self.persistent(identity))

    def on_reduce(self, _) -> None:
        (arguments,) = self.take(1)
        function = self.stack.pop()
        if not isinstance(function, _Global) or isinstance(function.call, str) or not isinstance(arguments, tuple):
            raise RefusedPickle("a call of what is no function here")
        self.stack.append(function.call(*arguments))

    def on_build(self, _) -> None:
        (state,) = self.take(1)
        if not isinstance(self.stack[-1], Buildable):
            raise RefusedPickle(f"to change a {type(self.stack[-1]).__name__}")
        self.stack[-1].build(state)


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))
