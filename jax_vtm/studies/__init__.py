"""The command `study`."""
