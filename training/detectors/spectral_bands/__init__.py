"""Trains `spectral-bands`."""
