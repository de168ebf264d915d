"""Band events: what is short in a window and strange against the rest of it: squeals, clicks, dropouts."""
