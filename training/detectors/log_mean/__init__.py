"""Trains `log-mean`."""
