"""What a model becomes for others: the difference of its weights to those of its base."""
