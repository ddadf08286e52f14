"""What a model is worth: exact answers, perplexity against context length, finding a key in a long text."""
