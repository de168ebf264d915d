"""Trains `dcase-ae`."""
