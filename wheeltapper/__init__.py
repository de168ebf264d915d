"""The command line: where training and stream meet."""

__version__ = "0.1.0"
