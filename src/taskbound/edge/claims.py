"""Who asks: from what a request shows to a Claim, and who is let in with it (INTERFACES 5).

What stands in `Authorization` decides alone: what is wrong there never falls back to the peer. On this
machine that is a task handle or a join token, as Bearer. Off it, over TLS, a task token of ours as DPoP
(RFC 9449 7.1), with exactly one proof of the key that it is bound to; a join token too, with a proof of the
key that tokens shall be bound to. Without `Authorization`, on a Unix socket, the kernel says who is at the
other end, and whoever a live `run` stands above is that run's agent, never the operator (INTERFACES 10).

A proof is compared with the address that the listener has, not with `Host` (D16); it and a join token are
used up before anything is decided, in a transaction of their own.
"""

import hashlib
import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Flag, auto
from functools import lru_cache
from pathlib import Path

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from taskbound.core.errors import Conflict, InvalidRequest, Replayed, TaskboundError, Unauthenticated
from taskbound.core.identity import (
    JOIN_TOKEN,
    PROOF_CODE,
    Claim,
    Facts,
    Identity,
    Process,
    Token,
    join_claim,
    name_of,
    proof_of,
)
from taskbound.core.task import Task
from taskbound.formats import dpop, jose
from taskbound.ports import World
from taskbound.steps.attest_workload import admit_token, attest_workload
from taskbound.steps.issue_token import audience_of, issuer_of
from taskbound.steps.note_refusal import note_refusal

log = structlog.get_logger()

PEER = "taskbound.peer"  # in scope["extensions"]: the Peer of a Unix socket, or None where the kernel knows none
NAMES = "taskbound.names"  # in scope["extensions"]: the names that a listener with TLS has by its certificate
HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})  # the names of this machine to itself


class Rule(Flag):
    """Who may knock."""

    PUBLIC = auto()  # anybody: the answer tells nothing that is anybody's
    LOCAL = auto()  # anybody on this machine
    OPERATOR = auto()  # a peer on the Unix socket: the local operator, or a workload that is attested
    HANDLE = auto()  # who shows a task handle
    TOKEN = auto()  # who shows a task token, and proves its key
    JOIN = auto()  # who shows a join token


class TokenRefused(Unauthenticated):
    """A token that is bound to a key, or the proof of one; answered with the challenge of RFC 9449 7.1."""

    hint = "Authorization: DPoP <token>, and in DPoP a proof of its key for this request"
    is_recorded = False  # as the refusal of a token of ours, by `admit_token`


# --- who holds -------------------------------------------------------------------------------------


class Holders:
    """Who holds a task open: a process by its connection (a `run`, a program with the SDK), or whoever sends a
    heartbeat (INTERFACES 10).

    Whoever they started stays their agent for as long as they live: what a task leaves running when
    it ends does not become the operator.
    """

    def __init__(self, org: str = "main") -> None:
        self.org = org
        self._streams: list[tuple[Process | None, str]] = []  # None: over TCP, where the kernel does not say who
        self._expected: dict[str, tuple[Process | None, Task]] = {}
        self._held: dict[Process, set[str]] = {}  # the digests of the handles of all that it holds or held
        self._silent: dict[str, tuple[float, int]] = {}  # by task: seconds since its last heartbeat, of how many

    def add(self, process: Process | None, task: Task) -> None:
        """State that the process holds the task. Raises Conflict where another does: it would live on without that."""
        holders = {holder for holder, id in self._streams if id == task.id}
        if task.id in self._expected:
            holders.add(self._expected[task.id][0])
        if holders - {process}:
            raise Conflict(f"task {task.id} is held by another process", code="held")
        self._note(process, task)
        self._expected.pop(task.id, None)
        self._streams.append((process, task.id))

    def remove(self, process: Process | None, task: Task) -> bool:
        """State that it no longer does; return whether nobody does any more."""
        self._streams.remove((process, task.id))
        return all(id != task.id for _, id in self._streams)

    def expect(self, process: Process | None, task: Task) -> None:
        """State that the process held the task before we were started again."""
        self._note(process, task)
        self._expected[task.id] = process, task

    def held(self) -> frozenset[str]:
        """Return the ids of the tasks that are held, or were before we were started again."""
        return frozenset({*(task for _, task in self._streams), *self._expected})

    def unclaimed(self) -> list[Task]:
        """Return, once, the tasks whose holders did not come back."""
        gone, self._expected = [task for _, task in self._expected.values()], {}
        return gone

    def hear(self, task: Task) -> None:
        """State that who holds the task by a heartbeat lives, as far as is known."""
        if task.heartbeat is not None and task.state not in ("ended", "closed"):
            self._silent[task.id] = 0.0, task.heartbeat.grace

    @property
    def hears(self) -> bool:
        """Whether a task is held by a heartbeat here."""
        return bool(self._silent)

    def silent(self, seconds: float) -> list[str]:
        """Return the tasks that were not heard for as long as they may not be, now that so many seconds went by.

        What we did not hear because we did not listen is nobody's silence: so looks are counted, not the clock.
        """
        self._silent = {id: (past + seconds, grace) for id, (past, grace) in self._silent.items()}
        return [id for id, (past, grace) in self._silent.items() if past >= grace]

    def next_heard(self, most: int) -> list[str]:
        """Return some of the tasks that are held by a heartbeat, each in its turn."""
        turn = list(self._silent)[:most]
        for id in turn:
            self._silent[id] = self._silent.pop(id)
        return turn

    def over(self, task: str) -> None:
        """State that a task ended: nobody holds it by a heartbeat any more."""
        self._silent.pop(task, None)

    def forget(self, task: str) -> None:
        """State that a silent task is lost: over, suspended, or heard by another node.

        Who was heard again while it was being lost, and so resumed it, is listened to as before.
        """
        past, grace = self._silent.get(task, (0.0, 1))
        if past >= grace:
            del self._silent[task]

    def task_above(self, process: Process, ancestry: Iterable[Process]) -> str | None:
        """Return the handle's digest of the task that the nearest holder above a process holds; None without one.

        Raises Unauthenticated when that holder has had several: doubt is refusal.
        """
        for above in ancestry:
            held = self._held.get(above, ()) if above != process else ()
            if len(held) > 1:
                raise Unauthenticated("a process above has held several tasks", hint="show the handle of one")
            if held:
                return next(iter(held))
        return None

    def _note(self, process: Process | None, task: Task) -> None:
        self._held = {one: held for one, held in self._held.items() if started_of(one.pid) == one.started}
        if process is not None:
            self._held.setdefault(process, set()).add(task.handle)


def started_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone.

    Raises OSError where that cannot be seen (no descriptor is left): a holder that was taken for gone would leave
    its agents to be the operator.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(b")")[2].split()[19])  # field 22; the name before it may hold anything


# --- where it came in ------------------------------------------------------------------------------


def is_unix(scope: Scope) -> bool:
    """Whether the request came over a Unix socket."""
    return PEER in (scope.get("extensions") or {})


def is_local(scope: Scope) -> bool:
    """Whether the request came over a Unix socket or to a loopback address."""
    return is_unix(scope) or (bool(scope.get("server")) and _is_loopback(scope["server"][0]))


@lru_cache(64)  # a listener on every address is reached at each of this machine
def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(scope: Scope) -> frozenset[str]:
    """Return the hosts that a listener on TCP answers to: of its certificate, and the address that it is bound to."""
    own = (scope.get("extensions") or {}).get(NAMES)
    if own is None:
        return HERE if is_local(scope) else frozenset()
    host = scope["server"][0]
    return frozenset({*own, dpop.normal_host(f"[{host}]" if ":" in host else host)})


def named(app: ASGIApp, names: frozenset[str]) -> ASGIApp:
    """Return the application as a listener with these names serves it."""

    async def with_names(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**(scope.get("extensions") or {}), NAMES: names}
        await app({**scope, "extensions": extensions}, receive, send)

    return with_names


def only(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a header that may stand once. Raises InvalidRequest."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise InvalidRequest(f"header {name.decode()} stands twice")
    return values[0] if values else None


# --- who is said to ask ----------------------------------------------------------------------------


async def claim_of(scope: Scope, world: World, holders: Holders) -> Claim | None:
    """Return who is said to ask; None where nobody is. Raises Unauthenticated, InvalidRequest."""
    authorization = only(scope, b"authorization")
    if authorization is not None:
        return await _shown(authorization, scope, world, holders.org)
    peer = (scope.get("extensions") or {}).get(PEER)
    if peer is None:
        if is_unix(scope):
            raise Unauthenticated("the process at the other end of the socket is gone")
        return None
    if world.attestor is None:
        raise Unauthenticated("no workload of this machine is attested here")
    digest = holders.task_above(peer.process, await world.attestor.ancestors(peer))
    if digest is not None:
        return Claim(holders.org, handle=digest)
    attests = only(scope, b"taskbound-attest")
    if await world.attestor.is_confined(peer):  # by a `run` that is gone, or by something else: doubt is refusal
        confined = "the process is confined as what `taskbound run` starts is, and nobody is known to have started it"
        raise Unauthenticated(confined, hint="show a task handle, or ask from outside of the sandbox")
    if attests is None and world.operator is not None and peer.uid == os.geteuid():
        # The name too: with `serve` the owners of two nodes' state directories may have one uid.
        return Claim(holders.org, facts=Facts("operator", {"uid": peer.uid, "name": name_of(world.operator)}))
    if attests not in (None, b"unix"):
        raise InvalidRequest("taskbound-attest knows unix alone")
    return Claim(holders.org, facts=await world.attestor.attest(peer))


JOINING = "Authorization: Bearer <join token>, and in DPoP a proof of your own key for this request (without ath)"
JOINS = "it opens a task at the API's own listener, POST /v1/tasks: show what names that task"
_BEARER = re.compile(r"(?i:bearer) (?:(tbh_[A-Za-z0-9_-]{43})|(tbj_.{1,64}))")
_TOKEN = re.compile(r"(?i:(bearer)|dpop) ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")


def shows_token(scope: Scope) -> bool:
    """Whether it is a task token that is shown, whatever it is worth."""
    return any(name == b"authorization" and value[:5].lower() == b"dpop " for name, value in scope["headers"])


async def _shown(authorization: bytes, scope: Scope, world: World, org: str) -> Claim:
    text = authorization.decode("latin-1")
    if shown := _TOKEN.fullmatch(text):
        if shown[1]:
            raise TokenRefused("a task token is bound to a key, and no bearer's")
        return await _token(shown[2], scope, world, org)
    shown = _BEARER.fullmatch(text)
    if shown is None:
        raise Unauthenticated("the authorization is no task handle, no task token and no join token")
    if shown[2]:
        return _join(shown[2], scope, org)
    if not is_local(scope):
        raise Unauthenticated("a task handle is accepted on this machine only", hint="show a task token, with a proof")
    return Claim(org, handle=hashlib.sha256(shown[1].encode()).hexdigest())


def _join(token: str, scope: Scope, org: str) -> Claim:
    claim = join_claim(org, token)
    if is_unix(scope) or (is_local(scope) and only(scope, b"dpop") is None):
        return claim
    if not is_local(scope) and scope["scheme"] != "https":
        raise Unauthenticated("a join token is accepted on this machine, and over TLS")
    return _proven(claim, scope, None)


async def _token(text: str, scope: Scope, world: World, org: str) -> Claim:
    if is_unix(scope):
        raise TokenRefused("a task token is accepted over TCP only", hint="show the task's handle")
    public = (await world.keys.public())["token"]
    try:
        said = jose.verify_access_token(text, public, issuer=issuer_of(world), audience=audience_of(world))
    except jose.MalformedToken as error:
        raise TokenRefused(f"the token is refused: {error}") from None
    token = Token(said.id, said.org, said.task, said.actor, said.jkt, _moment(said.issued), _moment(said.expires))
    return _proven(Claim(org, token=token), scope, text)


def _proven(claim: Claim, scope: Scope, token: str | None) -> Claim:
    """Return the claim with the proof of a key that was sent with it. Raises TokenRefused."""
    hint = "" if token else JOINING
    proofs = [value for name, value in scope["headers"] if name == b"dpop"]
    if len(proofs) != 1:
        raise TokenRefused(f"{len(proofs)} proofs were sent, expected one", code=PROOF_CODE, hint=hint)
    path = scope["raw_path"].partition(b"?")[0].decode("latin-1")
    address = dpop.Address(scope["scheme"], names_of(scope), scope["server"][1], path)
    try:
        proof = dpop.verify_proof(proofs[0].decode("latin-1"), method=scope["method"], address=address, token=token)
    except jose.MalformedToken as error:
        raise TokenRefused(f"the proof is refused: {error}", code=PROOF_CODE, hint=hint) from None
    window, ahead = timedelta(seconds=dpop.WINDOW), timedelta(seconds=dpop.AHEAD)
    spend = proof_of(proof.jkt, proof.id, _moment(proof.issued), window, ahead)
    return replace(claim, key=proof.jkt, spend=(*claim.spend, spend))


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def kind_of(claim: Claim) -> tuple[Rule, str]:
    """Return the rule that lets this claim in, and what people call it."""
    if claim.handle is not None:
        return Rule.HANDLE, "a task handle"
    if claim.token is not None:
        return Rule.TOKEN, "a task token"
    if claim.facts is not None and claim.facts.attestor == JOIN_TOKEN:
        return Rule.JOIN, "a join token"
    return Rule.OPERATOR, "the process at the other end of the socket"


async def proven(world: World, door: Identity, claim: Claim) -> Claim | Identity:
    """Return who asks, where what was shown works once: used up here, so that all that follows has the identity.

    Raises Unauthenticated, TokenRefused, Replayed for a join token that was seen before.
    """
    try:
        if claim.token is not None:
            return await admit_token(world, door, claim)
        if claim.facts is not None and claim.facts.attestor != "operator":
            return await attest_workload(world, door, claim)
    except Unauthenticated as error:
        if claim.key is None:
            raise
        refused = TokenRefused(str(error), code=error.code, hint=error.hint)
        refused.is_recorded = claim.token is not None
        raise refused from None
    return claim


async def note_refused(scope: Scope, world: World, door: Identity, error: TaskboundError) -> None:
    """Record that a proof of who asks was refused, where the error says so and one was shown; for every door.

    What an ended task's handle asks for is a denied call already, and a token of ours was recorded with its id.
    """
    if isinstance(error, TokenRefused) and error.is_recorded:
        return
    if isinstance(error, Unauthenticated | Replayed) and (shown := _sort_shown(scope)):
        try:
            await note_refusal(world, door, shown, error)
        except TaskboundError as failure:  # it is refused all the same
            log.error("refusal not recorded", code=failure.code, reason=str(failure))


_SORTS = (  # of what stands in Authorization; the first that it begins like
    (b"bearer tbh_", "a task handle"),
    (b"bearer tbj_", "a join token"),
    (b"bearer ey", "a token"),  # {" in base64url: the header of a JWT
    (b"dpop ", "a token"),
)


def _sort_shown(scope: Scope) -> str:
    """Return of which sort is what a request shows of who asks; "" where it shows nothing."""
    for shown in (value.lower() for name, value in scope["headers"] if name == b"authorization"):
        return next((sort for begins, sort in _SORTS if shown.startswith(begins)), "an authorization")
    return "the process at the other end of the socket" if is_unix(scope) else ""
