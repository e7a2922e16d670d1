"""What happens when things break: numbered rows whose answers are known, and something that goes wrong meanwhile."""
