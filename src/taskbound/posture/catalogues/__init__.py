"""Catalogues: what a server that was really asked says of its own logins, as sightings. No value of a credential.

The place of a login is the server's list, and its row there. `facts` of logins, with the same words for all of them:

    server: str (host:port)  login: str (its name there)  enters: bool (it can log in)
    may: tuple[str, ...] (what it may do there)  everything: bool  member_of: tuple[str, ...] (ids)
    expires: datetime | None (None: never)  sessions: int (now; missing: not seen)
"""
