"""Datasets by name, by file, and on the Hub; what people added; and their feedback on answers."""
