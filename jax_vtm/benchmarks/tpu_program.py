"""What the TPU's compiler says of its program: its cycles by part of the model, what it moves, sorts, and sends.

The scheduled program's text gives every fusion, copy and product `estimated_cycles`, the compiler's own estimate, and
the name of the operation it came from, in which the modules' names are. Kernels and sorts carry no estimate.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

MOVES = "copies and layout changes"
# Parts of a model, by the modules and scopes in an operation's name: the first that fits, otherwise "rest".
_PLACES = {
    "matching": r"/(TokenReduction|encoderblock)_\d+/matching",
    "merging": r"/TokenReduction_\d+",
    "MLP and projections": (
        r"/encoderblock_\d+/.*(query|key|value|out|trajectory_\w+|temporal_projection|Dense_\d)/|/(mlp|MlpBlock_\d)/"
    ),
    "attention": r"/encoderblock_\d+/.*[aA]ttention(_\d+)?(/|\.|$)",
    "rest": r"/encoderblock_\d+/|norm/|\.(pool|classify)/|output_projection|pre_logits",
    "input and embedding": r"shard_map/|arrays\[",
}
GROUPS = ("input and embedding", "attention", "matching", "merging", "MLP and projections", MOVES, "rest")
# Moves of these are among their own cycles: it is what they are there for.
_MOVING = ("input and embedding", "matching", "merging")
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# A fusion of nothing but these computes nothing: it lays an array out anew, fills it up, or joins several, for which
# the compiler takes the maximum of filled-up ones.
_MOVE = re.compile(
    "parameter|constant|tuple|get-tuple-element|bitcast|copy|transpose|reshape|reverse|slice|dynamic-slice|"
    "dynamic-update-slice|concatenate|pad|broadcast|iota|compare|select|maximum|and|or|not|convert"
)
_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_CALLED = re.compile(r"(?:to_apply|calls|body|true_computation|false_computation|branch_computations)=\{?%?([^,}\s]+)")
_CONDITION = re.compile(r"condition=%?([^,\s]+)")
_OPCODE = re.compile(r" ([a-z][a-z\d-]*)\(")
_SHAPE = re.compile(r"\b[a-z]+\d*\w*\[([\d,]*)\]")


class Operation(NamedTuple):
    """One operation of the program's schedule.

    Attributes:
        opcode: "fusion", "copy", "sort", "custom-call" and so on.
        group: One of `GROUPS`.
        cycles: The compiler's estimate, in all its runs; 0 where it gives none.
        sort_cycles: Of a sort, by our arithmetic.
        op_name: The operation of the traced program that it came from.
    """

    opcode: str
    group: str
    cycles: int
    sort_cycles: int
    op_name: str


def operations(text: str) -> list[Operation]:
    """Reads the schedule out of what `compiled.as_text()` returns, loops' bodies as often as they run.

    Raises:
        ValueError: A loop that does not say how often it runs.
    """
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" ") and "(" in line:
            name = line.split()[0]
            computations[name.lstrip("%")] = lines = []
        elif " = " in line:
            lines.append(line)
    return list(_walk(computations, "ENTRY", 1))


def _walk(computations: dict[str, list[str]], name: str, times: int) -> Iterator[Operation]:
    for line in computations[name]:
        opcode, called = _opcode(line), _CALLED.findall(line)
        if opcode == "while":
            # Some loops say how often they run; of others the condition compares with that number.
            condition = "".join(computations.get(_CONDITION.findall(line)[0], ()))
            trips = _TRIPS.findall(line) or re.findall(r"constant\((\d+)\)", condition)
            if len(trips) != 1:
                raise ValueError(f"a loop that does not say how often it runs: {line[:200]}")
            yield from _walk(computations, called[0], times * int(trips[0]))
        elif opcode in ("call", "conditional"):
            for one in called:
                yield from _walk(computations, one, times)
        else:
            fused = computations[called[0]] if opcode == "fusion" else [line]
            op_name = match[1] if (match := _OP_NAME.search(line)) else ""
            place = place_of(op_name)
            moves = place not in _MOVING and all(_MOVE.fullmatch(_opcode(one)) for one in fused)
            estimate = int(match[1]) if (match := _ESTIMATE.search(line)) else 0
            sort = _sort_cycles(line) if opcode == "sort" else 0
            yield Operation(opcode, MOVES if moves else place, times * estimate, times * sort, op_name)


def _opcode(line: str) -> str:
    # Between the shapes of the results, in which no name has a space before it, and the operands.
    return match[1] if (match := _OPCODE.search(line)) else ""


def _sort_cycles(line: str) -> int:
    """Cycles of a sort of rows: a bitonic network, one step on 1024 numbers of each operand a cycle.

    Rows are filled up to a power of two, 2^L, and take L (L + 1) / 2 steps.
    """
    results = line.partition(" = ")[2].partition(" sort(")[0]
    shapes = [[int(size) for size in sizes.split(",")] for sizes in _SHAPE.findall(results)]
    length = max(shapes[0])
    doublings = math.ceil(math.log2(length))
    numbers = sum(math.prod(shape) // length << doublings for shape in shapes)
    return math.ceil(numbers / 1024) * doublings * (doublings + 1) // 2


def place_of(op_name: str) -> str:
    """Returns the part of the model that an operation belongs to."""
    return next((place for place, pattern in _PLACES.items() if re.search(pattern, op_name)), "rest")


def collectives(schedule: list[Operation]) -> dict[str, int]:
    """Counts what goes from chip to chip; what begins and ends apart counts once."""
    counted = Counter(one.opcode.removesuffix("-start") for one in schedule)
    return {name: counted[name] for name in _COLLECTIVES if counted[name]}
