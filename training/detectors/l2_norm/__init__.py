"""Trains `l2-norm`."""
