"""Where sealed events go."""
