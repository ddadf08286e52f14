"""What the HTTP API and the pages share: access control and limits as ASGI middleware, and uvicorn's configuration.

`guard` checks keys, hosts and origins, `body_limits` the size of a request, `rate_limits` how many come in a minute,
and `connection` how long one may take. `asgi` has their common types, and `server` configures uvicorn with them. None
knows what is served.
"""
