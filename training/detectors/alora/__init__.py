"""Trains `alora`."""
