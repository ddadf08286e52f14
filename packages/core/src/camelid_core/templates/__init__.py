"""Prompt templates: messages → segments of text, each marked trained or not; and their way from and to Jinja.

The template owns the loss mask: training, chat, predict and every export render through here.
"""
