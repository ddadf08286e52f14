"""Alpaca-CoT's scripts for asking a model, read as Camelid's commands."""
