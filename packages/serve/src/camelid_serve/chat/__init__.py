"""A conversation with a model, and conversations as files."""
