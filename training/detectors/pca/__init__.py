"""Trains `pca`."""
