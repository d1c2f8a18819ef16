"""Which tokens of a video become one: `main.py visualize`, whole."""
