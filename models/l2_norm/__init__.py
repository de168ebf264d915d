"""L2 norm: how far the standardised row is from the mean."""
