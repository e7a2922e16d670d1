"""Compositions of models as code, run in process, on Ray Serve or over HTTP."""
