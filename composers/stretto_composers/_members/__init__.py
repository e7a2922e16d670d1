"""What composers over several members share: their names and classes, votes, weights and ties."""
