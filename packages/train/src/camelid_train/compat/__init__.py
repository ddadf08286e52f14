"""Other tools' command lines, translated to recipes: what their flags mean here, and which have no equivalent."""
