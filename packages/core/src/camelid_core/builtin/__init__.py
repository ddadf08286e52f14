"""Datasets, templates and model adapters that come with Camelid, registered through the same hooks as a plugin's."""
