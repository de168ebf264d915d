"""PCA error: the floor that other detectors are measured against."""
