"""Thin loops around the engine: `faust` (agents, the default) and `direct` (a confluent-kafka consume loop)."""
