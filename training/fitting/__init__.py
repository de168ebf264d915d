"""What all detectors share on the way from training rows to a bundle."""
