"""Prompt templates: messages → segments of text, each marked trained or not; export to and import from Jinja.

The template owns the loss mask: training, chat, predict and every export render through here.
"""
