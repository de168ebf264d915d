"""Range bands: the default sensor detector. Fitted with numpy in under a second, explains itself."""
