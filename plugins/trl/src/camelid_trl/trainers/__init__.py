"""trl's trainers, constructed for a run. Importing one imports trl, torch and datasets."""
