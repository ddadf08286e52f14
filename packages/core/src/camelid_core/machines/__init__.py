"""Machines that run this machine's jobs: their names and tokens, what travels to them and back, and the agent on them.

`machine` is the table, `agent` what runs on the other machine. What lets them in is `camelid_serve.machines`.
"""
