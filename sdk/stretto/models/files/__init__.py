"""Model files: read, written, cached."""
