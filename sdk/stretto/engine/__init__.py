"""What a plan means, and how it runs in one process."""
