"""Makes `iso-20816` for one entity."""
