"""Posture: who holds which credentials, read from files and exported lists. Pure: bytes to sightings to findings."""
