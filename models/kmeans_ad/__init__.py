"""KMeansAD: how far a window is from the nearest of a few typical windows."""
