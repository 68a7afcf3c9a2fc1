"""Doors: parse, authenticate, call one step or `enforce`, render. They hold no decisions."""
