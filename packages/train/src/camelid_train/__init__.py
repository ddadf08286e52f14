"""Camelid's trainer: a recipe in, an artefact out."""

__version__ = "0.1.0"
