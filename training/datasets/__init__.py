"""Data sets: one loader per source, all return `SensorSeries`."""
