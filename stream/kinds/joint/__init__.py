"""Joint alerts: a machine whose sensors and whose sound raise an alert at the same time."""
