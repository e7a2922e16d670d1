"""How a client reaches a pipeline."""
