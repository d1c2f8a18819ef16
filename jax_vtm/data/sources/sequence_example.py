"""The protobuf messages inside Scenic's records, `tf.train.SequenceExample`, without TensorFlow.

The messages are described here field by field, as in TensorFlow's `example.proto` and `feature.proto`. They live in a
descriptor pool of their own, so that a program may import TensorFlow beside this package.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow"

# message -> its fields: (name, number, scalar type or message name, repeated)
_MESSAGES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "BytesList": [("value", 1, _Field.TYPE_BYTES, True)],
    "FloatList": [("value", 1, _Field.TYPE_FLOAT, True)],
    "Int64List": [("value", 1, _Field.TYPE_INT64, True)],
    "Feature": [
        ("bytes_list", 1, "BytesList", False),
        ("float_list", 2, "FloatList", False),
        ("int64_list", 3, "Int64List", False),
    ],
    "FeatureList": [("feature", 1, "Feature", True)],
    "Features": [("feature", 1, "Features.FeatureEntry", True)],
    "FeatureLists": [("feature_list", 1, "FeatureLists.FeatureListEntry", True)],
    "SequenceExample": [("context", 1, "Features", False), ("feature_lists", 2, "FeatureLists", False)],
}

# A protobuf map is a repeated message of key and value inside the message that holds it: holder -> (entry, value)
_MAPS = {"Features": ("FeatureEntry", "Feature"), "FeatureLists": ("FeatureListEntry", "FeatureList")}

_CONTEXT_TAG = b"\x0a"  # field 1, of a type that states its length


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="sequence_example.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
        if name in _MAPS:
            entry_name, value = _MAPS[name]
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _add_field(entry, "key", 1, _Field.TYPE_STRING, False)
            _add_field(entry, "value", 2, value, False)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: Any, repeated: bool) -> None:
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = kind


_CLASSES = _message_classes()
SequenceExample: Any = _CLASSES["SequenceExample"]
"""The message class."""


def parse_example(data: bytes) -> Any:
    """Parses a whole record.

    Raises:
        ValueError: It is no SequenceExample.
    """
    return _parse(SequenceExample, data)


def parse_context(beginning: bytes) -> Any | None:
    """Parses a record's context from its first bytes, without the pictures that follow.

    Returns:
        The context; None if it does not come first, or is longer than what is given.

    Raises:
        ValueError: The bytes are no context.
    """
    if not beginning.startswith(_CONTEXT_TAG):
        return None
    length, start = 0, len(_CONTEXT_TAG)
    for shift in range(0, 70, 7):
        if start >= len(beginning):
            return None
        byte = beginning[start]
        length |= (byte & 0x7F) << shift
        start += 1
        if byte < 0x80:
            break
    if start + length > len(beginning):
        return None
    return _parse(_CLASSES["Features"], beginning[start : start + length])


def _parse(message_class: Any, data: bytes) -> Any:
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise ValueError("it is no tf.train.SequenceExample") from error
