"""Evaluation: metrics, floors, plots."""
