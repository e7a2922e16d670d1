"""How a client reaches a plan."""
