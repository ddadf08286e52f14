"""Provenance of a result, and the bundle that reproduces it."""
