"""Trains `band-events`."""
