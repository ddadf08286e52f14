"""Where a result comes from, and what it takes to make it again."""
