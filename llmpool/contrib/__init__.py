"""One module per framework or library; each imports its own optional dependency."""
