"""A model as a compiled program: written by `convert`, run without Flax."""
