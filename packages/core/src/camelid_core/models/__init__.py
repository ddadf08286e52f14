"""Models on disk: from the name a person types to weights in memory."""
