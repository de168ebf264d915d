"""Spectral bands: mean level of each mel band, standardised; the baseline of sound."""
