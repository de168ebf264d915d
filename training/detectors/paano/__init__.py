"""Trains `paano`."""
