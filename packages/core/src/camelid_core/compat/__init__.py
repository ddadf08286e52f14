"""Other tools' command lines: reading their flags, and saying in Camelid's words what was meant."""
