"""Adapting a bundle to a machine that has changed: the ladder of steps, and the gate that each has to pass."""
