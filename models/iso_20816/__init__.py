"""A plain rule for vibration: RMS velocity against the zone limits of ISO 20816."""
