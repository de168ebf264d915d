"""Rows of sensors."""
