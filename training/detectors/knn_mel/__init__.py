"""Trains `knn-mel`."""
