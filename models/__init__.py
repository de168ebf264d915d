"""Network definitions and their exported graphs, one room per detector."""
