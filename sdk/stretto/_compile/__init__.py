"""Passes that turn a plan into stages, each in its place."""
