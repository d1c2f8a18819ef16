"""The paper's studies: all merging in one layer alone, and another video's tubelets in clips."""
