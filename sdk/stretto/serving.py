"""The import path that config files of Ray Serve hold: ``stretto.serving:app``."""

from stretto.serve.config import app, config

__all__ = ["app", "config"]
