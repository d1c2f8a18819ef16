"""What commands share: from a config to models and videos, one pass over these, and the files that are left.

Imports nothing by itself, so that help and mistakes need not wait for JAX.
"""
