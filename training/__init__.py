"""Data sets, trainers, metrics, evaluation, bundle writing."""
