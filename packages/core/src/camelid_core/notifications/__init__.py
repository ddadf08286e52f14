"""Notifications: who is told when a job has ended, what is said, and delivering it, beside all work."""
