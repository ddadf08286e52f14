"""Batch prediction: a file of questions in, the same rows with answers out."""
