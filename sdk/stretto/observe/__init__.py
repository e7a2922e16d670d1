"""What runs, and what it costs."""
