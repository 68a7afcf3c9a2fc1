"""The plug-ins: what gives the ports their world, each knowing no other."""
