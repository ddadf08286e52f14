"""Other tools' command lines, read as recipes: what their flags mean here, and what they have no word for."""
