"""The floor beneath stream and training."""
