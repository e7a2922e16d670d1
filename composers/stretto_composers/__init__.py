"""The catalogue of composers: one small file each."""
