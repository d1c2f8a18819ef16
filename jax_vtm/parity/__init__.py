"""Our models and PyTorch's, layer by layer: `main.py ladder`, whole."""
