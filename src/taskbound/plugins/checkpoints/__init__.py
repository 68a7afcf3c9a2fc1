"""Second places for checkpoints."""
