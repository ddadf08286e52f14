"""Proof of an export: a model compared with what was made of it, on text that neither was made with."""
