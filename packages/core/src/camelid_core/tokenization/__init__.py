"""Tokenization: segments of text → token ids and labels."""
