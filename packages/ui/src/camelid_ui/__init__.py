"""The web pages of Camelid: the only package that imports gradio."""
