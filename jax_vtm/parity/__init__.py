"""Our models and PyTorch's, layer by layer: the command `parity`, whole."""
