"""Trains `vae-lstm`."""
