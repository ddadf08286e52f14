"""Preflight: memory, time and disk space of a run, measured before step 1, and whether they suffice."""
