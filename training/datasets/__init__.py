"""Data sets: one loader a source, all giving `SensorSeries`."""
