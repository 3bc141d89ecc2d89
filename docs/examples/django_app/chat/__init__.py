"""A small chat on a pool."""
