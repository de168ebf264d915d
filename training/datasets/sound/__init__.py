"""Data sets of sound and vibration clips."""
