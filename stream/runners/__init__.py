"""Thin loops around the shell: `faust` (agents, the default) and `direct` (a confluent-kafka consume loop)."""
