"""Trains `kmeans-ad`."""
