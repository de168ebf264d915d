"""The laboratory: comparisons, reproductions, learning curves and domain pairs. No plant needs it to run."""
