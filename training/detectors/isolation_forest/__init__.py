"""Trains `isolation-forest`."""
