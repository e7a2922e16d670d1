"""Rows as the input of a model."""
