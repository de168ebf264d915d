"""One folder a detector: its settings and its `train`."""
