"""What every HTTP server of ours has in common, whatever it serves: one guard for the API and for the pages.

`guard` says who may come in, `bodies` how much a request may bring, `rates` how often, and `connection` how long it
may take. `asgi` is what they are made of, and `server` starts uvicorn with them. None knows what is served.
"""
