"""The nouns, pure: what things are, with no world, clock or randomness."""
