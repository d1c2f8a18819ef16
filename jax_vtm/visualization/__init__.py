"""The command `visualize`."""
