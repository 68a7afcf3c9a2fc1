"""The demo: one task from open to end, told step by step."""
