"""Where exports go."""
