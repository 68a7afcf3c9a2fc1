"""Public standards as pure codecs: bytes to values and back."""
