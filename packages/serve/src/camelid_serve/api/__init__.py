"""The HTTP API: OpenAI's routes, Alpaca-CoT's three, and how the server is doing.

Holds no model: requests go to a process that does. Imports no torch. Needs the extra `camelid-serve[api]`.
"""
