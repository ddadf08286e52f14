"""trl's trainers, made of a run. Importing one imports trl, torch and datasets."""
