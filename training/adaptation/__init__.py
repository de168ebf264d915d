"""Adapting a bundle to a machine that has changed: the ladder, the gate, and the service that runs them."""
