"""The HTTP API: OpenAI's routes, Alpaca-CoT's three, adapter loading, health and metrics.

Holds no model: requests go to the engine process. Imports no torch. Needs the extra `camelid-serve[api]`.
"""
