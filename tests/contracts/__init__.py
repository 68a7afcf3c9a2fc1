"""One public suite per port, run for every implementation."""
