"""The rows of a batch as the input of a model."""
