"""Mean of log scores: several detectors in one graph."""
