"""Camelid's own evaluations, on records of any dataset or file."""
