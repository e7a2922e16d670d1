"""The HTTP interface as an ASGI application."""
