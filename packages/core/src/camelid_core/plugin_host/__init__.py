"""How plugins are found, chosen, imported and called, so that a broken one harms nobody else."""
