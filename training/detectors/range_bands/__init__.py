"""Trains `range-bands`."""
