"""What llmpool costs, beside its peers: one command runs it all, ``python -m benchmarks``."""
