"""The stores: what keeps things and their events."""
