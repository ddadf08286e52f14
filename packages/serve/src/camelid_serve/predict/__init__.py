"""Batch prediction (offline inference): a file of prompts in, the same rows with answers out."""
