"""Model cards of published repositories: what they say, and how they are regenerated in place."""
