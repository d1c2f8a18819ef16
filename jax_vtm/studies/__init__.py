"""The paper's studies: another video's tubelets in clips."""
