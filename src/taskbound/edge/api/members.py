"""What each route takes: the members of a body, or the parameters of a query (INTERFACES 6), for the reference too."""

from collections.abc import Mapping

from taskbound.edge.api.fields import (
    Member,
    digits,
    fact,
    flag,
    index,
    many,
    moment,
    number,
    objects,
    person,
    seconds,
    text,
    texts,
)

Takes = Mapping[str, Member]

TASK: Takes = {
    "profile": Member(text, "the task profile; at most one of this and authorization_details"),
    "set": Member(many(text), "a text for each parameter of the profile"),
    "intent": Member(text, "what it is for, in words; alone it grants the tools that only read"),
    "authorization_details": Member(objects, "what is asked for without a profile (RFC 9396), of type taskbound_grant"),
    "actor": Member(text, "who works: agent/NAME or service/NAME that the caller owns; the caller by default"),
    "subject": Member(person, "for whom: the caller, or whom its task is for; by reference it is not built yet"),
    "parent": Member(text, "the caller's own task, of which this is a child"),
    "cause": Member(text, "the task that led to this one; it gives no authority"),
    "life_s": Member(seconds, "until the deadline, at most as the profile says; 600 without a profile"),
    "budget": Member(many(number), "calls, leases and so on, at most as the profile says; a child names each"),
    "hold": Member(flag, "end it with the caller: on the Unix socket with this answer, else without a heartbeat"),
    "idempotency_key": Member(text, "the same request repeated with it within a day gets the task that it opened"),
    "upstream": Member(text, "refuses where there is no such upstream, before anything is opened"),
}
LISTING: Takes = {
    "after": Member(text, "the id behind which the page begins: `next` of the page before"),
    "limit": Member(digits, "things in one answer, 1 to 500; 100 by default"),
}
TASKS: Takes = {"state": Member(text, "tasks in this state alone"), **LISTING}
END: Takes = {"reason": Member(text, 'why, for the log; "asked" by default')}
LEASE: Takes = {"lease": Member(text, "TARGET/GRANT", required=True)}
CALLS: Takes = {
    "task": Member(text, "calls of this task alone"),
    "state": Member(text, "permitted or denied"),
    "limit": Member(digits, "calls in one answer, the newest, 1 to 500; 100 by default"),
}
IDENTITY: Takes = {
    "name": Member(text, "human/…, service/… or agent/…", required=True),
    "owner": Member(text, "the human who answers for it: human/NAME", required=True),
    "attestor": Member(text, "unix, operator or join_token: by what it is proven", required=True),
    "when": Member(many(fact), "the facts that must be shown, all of them; not for join_token"),
    "purpose": Member(text, "what it is for"),
    "environment": Member(text, "dev, production, …: policy compares it with a target's"),
    "groups": Member(texts, "names that policy may ask for"),
}
JOIN: Takes = {"life_s": Member(seconds, "how long the join token works, 1 to 600; 600 by default")}
PIN: Takes = {"write": Member(flag, "write the catalogue and pin what it holds; else it is shown alone")}
EVENTS: Takes = {
    "after": Member(index, "the index behind which the page begins; -1, the default, is before the first"),
    "limit": Member(digits, "events in one answer, 1 to 500; 100 by default"),
}
EXPORT: Takes = {"directory": Member(text, "where the server writes it: an absolute path", required=True)}
ERASE: Takes = {
    "older_than_s": Member(seconds, "the age of the bodies that are erased", required=True),
    "class": Member(text, "of this class of bodies alone: arguments"),
}
FINDINGS: Takes = {
    "findings": Member(objects, "what a scan saw, at most 200; members as `GET /v1/findings` tells them"),
    "gone": Member(texts, "ids of findings that were looked for at each of their places and not seen"),
}
ACCEPT: Takes = {
    "owner": Member(text, "the living human who answers for it: human/NAME", required=True),
    "until": Member(moment, "until when, a year at most; then it is open again", required=True),
    "reason": Member(text, "why it is left so", required=True),
}
FIX: Takes = {
    "finding": Member(text, "the id that reports give it", required=True),
    "act": Member(text, "fix, undo or kill", required=True),
    "files": Member(texts, "whose bytes are about to change: absolute paths, at most 1000"),
    "targets": Member(texts, "the static targets that get what stood in them"),
    "with_secrets": Member(flag, "whether literal secrets are put back into files"),
    "issuer": Member(text, "with kill: the server, postgresql://host:port or redis://host:port"),
    "login": Member(text, "with kill: whose login is about to be ended there"),
}
FIX_END: Takes = {
    "finding": Member(text, "the id that reports give it", required=True),
    "failed": Member(text, "why it is not done, without any value; it is done without"),
    "before": Member(text, "of a login: what its server said of it: alive, dead or unknown"),
    "after": Member(text, "of a login: what its server says of it now"),
}
OFFBOARD: Takes = {
    "name": Member(text, "who: human/NAME, agent/NAME, service/NAME, or as a list has them", required=True),
    "logins": Member(objects, "logins in their hands, at most 500: {issuer, login, proof: let_in, listed or refused}"),
    "dry_run": Member(flag, "say what would be done, and change nothing"),
}
