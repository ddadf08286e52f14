"""Pipelines: several jobs from one file, each of which may use what earlier ones made; and sweeps, which are such."""
