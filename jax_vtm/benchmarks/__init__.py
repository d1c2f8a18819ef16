"""How fast models are, and their parts: `main.py benchmark`, whole."""
