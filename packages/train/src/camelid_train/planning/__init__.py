"""What is known before step 1: counts, two measured steps, and a rehearsal on a tiny model."""
