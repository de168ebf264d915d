"""Rows of sensors: SensorBlocks, or a plant's own JSON, to row memories and shares of channels."""
