"""The front end of all sound detectors: samples to mel energies, the same numbers in numpy, ONNX and torch."""
