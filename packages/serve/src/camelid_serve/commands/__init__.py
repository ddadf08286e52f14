"""Serve's commands; imported only when they are called."""
