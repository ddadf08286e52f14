"""The rules that tuning methods, objectives and exporters keep, each run on a tiny model.

Knows what a run and an export rely on. Knows no method, objective or exporter.
"""
