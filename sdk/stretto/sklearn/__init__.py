"""Ensembles of scikit-learn as pipelines, and pipelines as estimators."""
