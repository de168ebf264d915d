"""Trains `astra`."""
