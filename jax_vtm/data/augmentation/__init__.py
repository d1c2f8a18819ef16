"""Random changes of training clips, one kind a file: which frames, which crop, RandAugment, colours, erasing.

The operations take what was drawn as arguments, so that they can be replayed, or draw from a `numpy` generator.
"""
