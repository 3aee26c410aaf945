"""The same generated requests through the gateway and through a plain reverse proxy, to an engine that tells what it got.

    traffic.py   a request and an answer from a seed          echo.py     the engine: answers by seed, tells what arrived
    changes.py   docs/gateway.md's table of what the gateway changes, applied to what passed the plain proxy
"""
