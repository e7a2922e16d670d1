"""What policies around a part share: their numbers, failures, latencies and keys."""
