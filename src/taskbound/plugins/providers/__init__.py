"""Providers: each makes and takes back credentials at one kind of target."""
