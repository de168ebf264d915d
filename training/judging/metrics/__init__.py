"""Metrics: plain functions of label, score and contribution arrays. Larger scores are more anomalous."""
