"""Many reductions of one model, and what they cost: `main.py sweep`, whole."""
