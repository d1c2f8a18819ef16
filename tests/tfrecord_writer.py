"""Writes TFRecords of clips, as DMVR and MediaSequence lay them out."""

import struct

from tensorflow_datasets.proto import tf_example_pb2

from jax_vtm.data.sources.record_file import masked_crc


def clip(frames, labels=(), context=None, lists=None):
    """A record's bytes: pictures, class indices, and further context (text, int or float) and feature lists."""
    example = tf_example_pb2.SequenceExample()
    for frame in frames:
        example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(frame)
    if labels:
        example.context.feature["clip/label/index"].int64_list.value.extend(labels)
    for key, value in (context or {}).items():
        feature = example.context.feature[key]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    for key, values in (lists or {}).items():
        for value in values:
            example.feature_lists.feature_list[key].feature.add().int64_list.value.append(value)
    return example.SerializeToString()


def write(path, records):
    """Writes a file and returns its path."""
    with path.open("wb") as file:
        for data in records:
            length = struct.pack("<Q", len(data))
            checksums = (struct.pack("<I", masked_crc(part)) for part in (length, data))
            file.write(length + next(checksums) + data + next(checksums))
    return path
