"""Issuers: plug-ins that ask a server about its own logins, and end them."""
