"""Adapting a detector to another machine or condition: domains, training, experiments."""
