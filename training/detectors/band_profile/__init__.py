"""Trains `band-profile`."""
