"""ASGI middleware: access control, idempotency keys, rate limits."""
