"""Values of many rows."""
