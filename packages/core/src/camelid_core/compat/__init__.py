"""Compatibility with other tools' command lines: parsing their flags and translating them to Camelid's."""
