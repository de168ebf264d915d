"""One reader of topics for everything that subscribes."""
