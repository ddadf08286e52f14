"""Before step 1: what a run will take, measured, and whether it fits."""
