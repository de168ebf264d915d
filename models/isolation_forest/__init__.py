"""Isolation forest: how few random splits isolate a row from the others."""
