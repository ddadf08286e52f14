"""Segments of text → token ids and labels."""
