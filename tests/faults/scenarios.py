"""What the sweep of test_raise runs: each way in which authority is asked for, and then given or refused.

Name -> (prepare, act). The name begins with what comes out without a fault: `permitted`, `denied`,
or the name of an exception. `act` is what is swept. A `denied` scenario with a table asks for
everything in it, and answers `permitted` as soon as one entry gets through; of exceptions it takes
only our refusals for a refusal, so a fault that nobody handles comes out as itself.

The directory `breadth` holds every operator on every type and one policy for each way to refuse;
`small` is a directory of one tool, of which the tables of refused files change one thing each.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from taskbound.core.call import decide
from taskbound.core.cedar import Entity, Opaque, Uid, parse_policy, validate
from taskbound.core.errors import Denied, InvalidRequest, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Identity, OneTime, Registration, door, identify, join_claim
from taskbound.core.policy import PolicySet, Request, authorize
from taskbound.core.policy_dir import PolicyDir, read_policy_dir
from taskbound.core.schema import schema_of
from taskbound.core.thing import advance
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.prove import gather, prove
from taskbound.steps.attest_workload import attest_workload, issue_join_token
from taskbound.steps.decide_call import CallAsk, Outcome, complete_call, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.pin_tools import pin_tools
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.rig import ALICE, Rig
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of

Prepare = Callable[[Rig], Awaitable[Any]]
Act = Callable[[Rig, Any], Awaitable[str]]
Deed = Callable[[], Awaitable[object]]

POLICIES = Path(__file__).parent.parent / "data" / "policies"
BREADTH, SMALL = POLICIES / "breadth", POLICIES / "small"
REFUND_CALL = CallAsk("crm/refund", {"order_id": "4711", "amount": 49.9, "note": None})
BOB = Claim("main", facts=Facts("operator", {"uid": 1001}))


# --- the story's directory: one thing is asked --------------------------------------------------


async def opened(rig: Rig) -> Claim:
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    return claim_of(handle)


async def child(rig: Rig) -> Claim:
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    _, handle = await open_task(rig.world, rig.door, await opened(rig), wish)
    return claim_of(handle)


async def tester(rig: Rig) -> Claim:
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor="agent/tester"))
    return claim_of(handle)


async def over(rig: Rig) -> Claim:
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    return claim_of(handle)


TESTER = Claim("main", facts=Facts("unix", {"script": "/srv/agent/tester.py"}))


async def proved(rig: Rig) -> Identity:
    caller, _, _ = await decide_call(rig.world, rig.door, await opened(rig), REFUND_CALL)
    return caller


async def suspended(rig: Rig) -> Claim:
    agent = await opened(rig)
    async with rig.store.transaction(rig.door) as tx:
        (support,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/support")
        await tx.record(Kind.IDENTITY_SUSPENDED, advance(support, Kind.IDENTITY_SUSPENDED))
    return agent


async def doubled(rig: Rig) -> Claim:
    ask = RegistrationAsk("human/alicia", "human/alicia", "operator", {"uid": 1000})
    await register_identity(rig.world, rig.door, rig.door, ask)
    return ALICE


async def spent_lease(rig: Rig) -> Claim:
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, budget={"leases": 1}))
    await issue_lease(rig.world, rig.door, claim_of(handle), LeaseAsk("shopdb/reader"))
    return claim_of(handle)


def claims(claim: Claim) -> Prepare:
    async def prepare(rig: Rig) -> Claim:
        return claim

    return prepare


def calls(ask: CallAsk) -> Act:
    async def act(rig: Rig, who: Claim | Identity) -> str:
        caller, call, decision = await decide_call(rig.world, rig.door, who, ask)
        if decision.permitted:
            await complete_call(rig.world, rig.door, caller, call, Outcome(False, 1))
        return "permitted" if decision.permitted else "denied"

    return act


def leases(resource: str, **changed: Any) -> Act:
    async def act(rig: Rig, who: Claim) -> str:
        await issue_lease(replace(rig.world, **changed), rig.door, who, LeaseAsk(resource))
        return "permitted"

    return act


def opens(ask: TaskAsk, spend: bool = False) -> Act:
    async def act(rig: Rig, who: Claim) -> str:
        if spend:
            who = replace(who, spend=(OneTime("proof", "x", rig.clock.at),))
        await open_task(rig.world, rig.door, who, ask)
        return "permitted"

    return act


async def pins(rig: Rig, who: Claim) -> str:
    await pin_tools(rig.world, rig.door, who, "crm", [{"name": "find_order", "inputSchema": {}}])
    return "permitted"


async def proves_twice(rig: Rig, who: Claim) -> str:
    who = replace(who, spend=(OneTime("proof", "x", rig.clock.at),))
    for _ in range(2):
        async with rig.world.store.transaction(rig.door) as tx:
            await prove(tx, who)
    return "permitted"


async def registers(rig: Rig, who: Claim) -> str:
    ask = RegistrationAsk("agent/new", "human/alice", "unix", {"script": "/srv/new.py"})
    await register_identity(rig.world, rig.door, who, ask)
    return "permitted"


NODE = RegistrationAsk("service/node", "human/alice", "join_token", {})


async def node(rig: Rig) -> Identity:
    await register_identity(rig.world, rig.door, rig.door, NODE)
    return rig.door


async def not_ours(rig: Rig) -> Claim:
    await node(rig)
    return ALICE


async def token(rig: Rig) -> str:
    _, token, _ = await issue_join_token(rig.world, rig.door, await node(rig), NODE.name, timedelta(minutes=1))
    return token.reveal()


async def old_token(rig: Rig) -> str:
    shown = await token(rig)
    rig.clock.advance(61)
    return shown


async def superseded(rig: Rig) -> str:
    shown = await token(rig)
    await issue_join_token(rig.world, rig.door, rig.door, NODE.name, timedelta(minutes=1))
    return shown


def issues(name: str, life: float = 1) -> Act:
    async def act(rig: Rig, who: Claim | Identity) -> str:
        await issue_join_token(rig.world, rig.door, who, name, timedelta(minutes=life))
        return "permitted"

    return act


async def attests(rig: Rig, who: Claim) -> str:
    await attest_workload(rig.world, rig.door, who)
    return "permitted"


def joins(times: int) -> Act:
    async def act(rig: Rig, shown: str) -> str:
        for _ in range(times):
            await attest_workload(rig.world, rig.door, join_claim("main", shown))
        return "permitted"

    return act


BAD_NAMES: tuple[Mapping[str, Any], ...] = (
    {"name": "robot/node"}, {"name": "service/"}, {"name": "service/../x"}, {"owner": "agent/support"},
    {"name": "human/carol"}, {"when": {"token": "00"}}, {"attestor": "unix"},
    {"attestor": "operator", "when": {"uid": 1}},
)  # fmt: skip


async def registers_wrongly(rig: Rig, who: Identity) -> str:
    asks = [replace(NODE, **{"name": "service/new", **bad}) for bad in BAD_NAMES]
    return await first_accepted(partial(register_identity, rig.world, rig.door, who, ask) for ask in asks)


async def calls_in_another_organisation(rig: Rig, who: Identity) -> str:
    await decide_call(rig.world, rig.door, replace(who, org="other"), REFUND_CALL)
    return "permitted"


async def administers(rig: Rig, who: Claim) -> str:
    async with rig.world.store.transaction(rig.door) as tx:
        caller = await prove(tx, who)
        decision = decide(await gather(rig.world, tx, caller, "audit/read", "taskbound"))
    return "permitted" if decision.permitted else "denied"


async def identifies_what_does_not_fit(rig: Rig, who: Claim) -> str:
    """A handle without a task, facts with one, facts of somebody else, no proof at all, our own door."""
    (alice,) = (t for t in rig.store.things.values() if isinstance(t, Registration) and t.kind == "human")
    other = Claim("main", facts=Facts("operator", {"uid": 0}))
    if ALICE.names_task:
        return "permitted"
    pairs = ((Claim("main", handle="00"), None), (ALICE, "t1"), (other, None), (Claim("main"), None))
    for claim, task in pairs:
        try:
            identify(claim, alice, task, ())
        except Unauthenticated:
            continue
        return "permitted"
    return "denied" if door("example.org", "door/x", "main").task is None else "permitted"


# --- a store that answers otherwise ---------------------------------------------------------------


class _OddTransaction:
    def __init__(self, tx: Any, answers: Mapping[str, Callable[[Any], Any]]) -> None:
        self._tx, self._answers = tx, answers

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._tx, name)
        if name not in self._answers:
            return method

        async def answer(*args: Any) -> Any:
            return self._answers[name](await method(*args))

        return answer


class OddStore:
    """A store whose first transactions answer otherwise: what another call will have changed, or nonsense."""

    def __init__(self, store: Any, times: int, **answers: Callable[[Any], Any]) -> None:
        self._store, self._times, self._answers = store, times, answers

    @asynccontextmanager
    async def transaction(self, opener: Identity):
        self._times -= 1
        async with self._store.transaction(opener) as tx:
            yield _OddTransaction(tx, self._answers if self._times >= 0 else {})


async def exhausted(rig: Rig) -> Claim:
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, budget={"calls": 0}))
    return claim_of(handle)


def with_answers(times: int, act: Act, **answers: Callable[[Any], Any]) -> Act:
    async def odd(rig: Rig, given: Any) -> str:
        before = rig.world
        rig.world = replace(before, store=OddStore(before.store, times, **answers))
        try:
            return await act(rig, given)
        finally:
            rig.world = before

    return odd


def one_left(left: Mapping[str, int]) -> Mapping[str, int]:
    """Return a budget as it was seen before another call took the last of it."""
    return {**left, "calls": 1}


def one_lease_left(left: Mapping[str, int]) -> Mapping[str, int]:
    """Return a budget as it was seen before another lease took the last of it."""
    return {**left, "leases": 1}


# --- the directory `breadth`: everything is asked that must be refused -----------------------------

WORK = TaskAsk(
    "work",
    {
        "account": "a1", "max": "50", "sizes": "[1, 2, 3]", "fast": "true", "tags": '["x", "y"]', "ids": "[1, 2]",
        "rate": "2.5", "memo": "m",
    },
    actor="agent/ci",
)  # fmt: skip

RIGHT: Mapping[str, Any] = {
    "account": "a1", "amount": 50, "count": 3, "size": 3, "urgent": False, "fast": True, "tags": ["y"], "ids": [2, 1],
    "codes": ["b", "a"], "label": "abc", "sort": "x", "price": 2.5, "rate": 2.5, "x-y": 'a"ä\n', "body": "hello",
    "memo": "m",
}  # fmt: skip
# Each lies outside exactly one condition.
WRONG: Mapping[str, tuple[Any, ...]] = {
    "account": ("a2",), "amount": (50.01,), "count": (4,), "size": (4,), "urgent": (True,), "fast": (False,),
    "tags": (["x", "z"],), "ids": ([1], [1, 2, 3]), "codes": (["a"],), "label": ("b",), "sort": ("z",),
    "price": (2,), "rate": (1,), "x-y": ("a",), "memo": ("n", None), "extra": ("x",),
}  # fmt: skip
ONE = {"id": "a1"}
WRONG_CALLS = (
    CallAsk("shop/owned", ONE),  # the owner is in a group
    CallAsk("shop/subject", ONE),  # the task's subject is
    CallAsk("shop/grouped", ONE),  # the caller is
    CallAsk("lab/run", ONE),  # the caller is an agent in a group, the tool is of an upstream
    CallAsk("shop/capped", {"amount": 5.01}),
    CallAsk("shop/hour", ONE),
    CallAsk("shop/failing", {"count": 1}),  # the forbid cannot be evaluated
    CallAsk("shop/loose", ONE),  # not as it was pinned
    CallAsk("shop/ask", ONE),  # a person is asked
    CallAsk("shop/once", ONE),  # was called once
    CallAsk("shop/open", {"id": "a2", "more": "x"}),
    CallAsk("shop/other", ONE),  # not granted
    CallAsk("shop/nothing", ONE),
    CallAsk("mail/send", {"to": "x@example.org"}),  # after a secret and text from outsiders
    CallAsk("shop/order", {**RIGHT, "nothing": 1}),
    CallAsk("shop/order", {name: value for name, value in RIGHT.items() if name != "account"}),
    CallAsk("shop/order", {**RIGHT, "amount": "1"}),
    *(CallAsk("shop/order", {**RIGHT, name: value}) for name, values in WRONG.items() for value in values),
)
BEFORE = (CallAsk("shop/text", ONE), CallAsk("shop/secret", ONE), CallAsk("shop/once", ONE))

WRONG_VALUES: tuple[Mapping[str, str], ...] = (
    {"account": "1"}, {"max": "0.5"}, {"max": "100.01"}, {"max": "1e2"}, {"max": "x"}, {"sizes": "[1, 5]"},
    {"sizes": "[]"}, {"sizes": "[1"}, {"sizes": '["1"]'}, {"fast": "yes"}, {"fast": "1"}, {"tags": '["x", "Y"]'},
    {"tags": "x"}, {"rate": "2"}, {"memo": "\ud800"}, {"nothing": "1"},
)  # fmt: skip

WRONG_ASKS = (
    *(replace(WORK, set={**WORK.set, **values}) for values in WRONG_VALUES),
    replace(WORK, set={name: text for name, text in WORK.set.items() if name != "account"}),
)


def detail(resource: str, when: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    action = "lease/issue" if resource == "shopdb/reader" else "tools/call"
    found = {"type": "taskbound_grant", "actions": [action], "identifier": resource, **more}
    return found if when is None else {**found, "when": when}


NARROW: Mapping[str, str] = {
    "account": '= "a1"', "amount": "<= 5", "count": "= 3", "size": "in [1, 2]", "urgent": "= false", "fast": "= true",
    "tags": 'in ["x"]', "ids": "= [2, 1]", "codes": '= ["a", "b"]', "label": 'like "abc*"', "sort": '= "x"',
    "price": "in [1]", "rate": "= 2.5", "x-y": r'= "a\"ä\n"', "body": "any", "memo": '= "m"',
}  # fmt: skip
# Within, by every other pair of operators that implies another.
WITHIN: Mapping[str, str] = {
    **NARROW, "account": 'in ["a1"]', "amount": "= 5", "count": "in [1, 2]", "size": "= 1", "tags": '= ["x"]',
    "label": '= "abx"', "sort": 'in ["x"]',
}  # fmt: skip
WITHIN_TOO: Mapping[str, str] = {**NARROW, "amount": "in [5]", "label": 'in ["abx"]'}
# Each is wider than the parent in exactly one argument.
WIDER: Mapping[str, tuple[str, ...]] = {
    "account": ("any", '= "a2"', 'in ["a1", "a2"]'), "amount": ("<= 51", "= 51", "in [5, 51]", "any"),
    "count": ("<= 4",), "size": ("in [1, 4]", "= 4", "<= 1"), "urgent": ("= true",), "fast": ("any",),
    "tags": ('in ["x", "z"]', '= ["z"]'), "ids": ("= [1]", "in [1]"), "codes": ('= ["a"]',),
    "label": ('like "a*"', '= "b"', 'in ["abx", "b"]'), "sort": ('= "z"', 'like "x*"'), "price": ("in [1, 2]", "= 2"),
    "rate": ("= 1",), "memo": ("any",), "extra": ("any",),
}  # fmt: skip
SHARE = {"calls": 1, "leases": 0}


def wish(*details: Mapping[str, Any], budget: Mapping[str, int] = SHARE) -> TaskAsk:
    return TaskAsk(details=details, budget=budget)


def order(**when: str) -> dict[str, Any]:
    return detail("shop/order", {**NARROW, **when}, budget={"calls": 1})


WIDER_WISHES = (
    *(wish(order(**{name: text})) for name, texts in WIDER.items() for text in texts),
    wish(detail("shop/order", {k: v for k, v in NARROW.items() if k != "memo"}, budget={"calls": 1})),
    wish(detail("shop/order", NARROW)),  # without a number of calls
    wish(detail("shop/ask", {"id": "any"})),  # without a person
    wish(detail("shop/once", {"id": "any"}, budget={"calls": 2})),
    wish(detail("shop/other", {"id": "any"})),
    wish(detail("shopdb/reader", budget={"leases": 2}), budget={"calls": 0, "leases": 1}),
    TaskAsk("wider", budget=SHARE),
)
RIGHT_WISH = wish(
    detail("shop/order", WITHIN, budget={"calls": 1}),
    detail("shop/ask", {"id": "any"}, ask=True), detail("shop/open", {"id": '= "a1"'}),
    detail("shopdb/reader", locations=["target:shopdb"], budget={"leases": 1}),
    budget={"calls": 3, "leases": 1},
)  # fmt: skip

GOOD = detail("shop/text", {"id": '= "a1"'})
BAD_DETAILS: tuple[Any, ...] = (
    "text", {}, {**GOOD, "type": "other"}, {**GOOD, "x": 1}, {**GOOD, "actions": []}, {**GOOD, "actions": "tools/call"},
    {**GOOD, "actions": ["task/open"]}, {**GOOD, "actions": ["tools/call", "lease/issue"]},
    {**GOOD, "locations": ["mcp:lab"]}, {**GOOD, "budget": 1}, {**GOOD, "budget": {"leases": 1}},
    {**GOOD, "budget": {"calls": 0}}, {**GOOD, "identifier": "shop/nothing"}, {**GOOD, "when": {}},
    {**GOOD, "when": {"id": "= id"}}, {**GOOD, "when": 1}, detail("shopdb/reader", {"id": "any"}),
)  # fmt: skip
BAD_ASKS = (
    *(TaskAsk(details=[bad]) for bad in BAD_DETAILS),
    TaskAsk(details=[GOOD, GOOD]),  # the same twice
    replace(WORK, details=[GOOD]),
    TaskAsk(set={"a": "1"}),
    TaskAsk(),
    replace(WORK, budget={"calls": 201}),
    replace(WORK, budget={"bytes": 1}),
    TaskAsk(details=[GOOD], budget={"leases": 201}),
)


class InForce:
    """The port Policies with one directory, made before."""

    def __init__(self, current: PolicyDir) -> None:
        self.current = current

    def read(self) -> PolicyDir:
        return self.current

    def tools(self, upstream: str) -> Any:
        raise AssertionError("nothing is pinned here")

    def file(self, path: str) -> bytes:
        raise AssertionError("nothing is written here")

    def adopt(self, policies: PolicyDir) -> None:
        self.current = policies

    def write(self, files: Any) -> None:
        raise AssertionError("nothing is written here")


BREADTH_FILES = PolicyFiles(BREADTH, TARGETS)
BREADTH_FILES.load()


async def staff(rig: Rig) -> None:
    """Bob, who learns, owns the agent; it is in a group of its own. The directory is as if just loaded."""
    people = (
        RegistrationAsk("human/bob", "human/bob", "operator", {"uid": 1001}, groups=("trainees",)),
        RegistrationAsk("agent/ci", "human/bob", "unix", {"script": "ci"}, environment="production", groups=("ci",)),
    )
    for ask in people:
        await register_identity(rig.world, rig.door, rig.door, ask)
    rig.world = replace(rig.world, policies=InForce(as_if_loaded(BREADTH_FILES.current)))


def as_if_loaded(known: PolicyDir) -> PolicyDir:
    """Return a directory as it is when it was just loaded: nothing of it was used yet."""
    profiles = {name: replace(profile) for name, profile in known.profiles.items()}
    return replace(known, organisation=PolicySet(known.organisation.policies), profiles=profiles)


async def work(rig: Rig) -> Claim:
    _, handle = await open_task(rig.world, rig.door, BOB, WORK)
    return claim_of(handle)


async def at_work(rig: Rig) -> Claim:
    await staff(rig)
    return await work(rig)


async def tainted(rig: Rig) -> Claim:
    return await _tainted(rig, await at_work(rig))


async def _tainted(rig: Rig, agent: Claim) -> Claim:
    """The agent has read text from outsiders and a secret, and used up what it may use once."""
    for ask in BEFORE:
        _, _, decision = await decide_call(rig.world, rig.door, agent, ask)
        if not decision.permitted:  # the fault was here, and denied: it comes once
            _, _, decision = await decide_call(rig.world, rig.door, agent, ask)
        assert decision.permitted, f"{ask.resource}: {decision.code}"
    return agent


async def first_accepted(deeds: Iterable[Deed]) -> str:
    """Do all that must be refused, one by one. Return `permitted` if one of them is not."""
    refused = 0
    for deed in deeds:
        try:
            await deed()
        except (InvalidRequest, Denied):
            refused += 1
            continue
        return "permitted"
    assert refused, "nothing was asked"
    return "denied"


async def calls_wrongly(rig: Rig, agent: Claim) -> str:
    for ask in WRONG_CALLS:
        _, _, decision = await decide_call(rig.world, rig.door, agent, ask)
        if decision.permitted:
            return "permitted"
    return "denied"


def asks_for(asks: Iterable[TaskAsk]) -> Act:
    async def act(rig: Rig, who: Claim) -> str:
        return await first_accepted(partial(open_task, rig.world, rig.door, who, ask) for ask in asks)

    return act


async def opens_and_calls_wrongly(rig: Rig, nothing: None) -> str:
    return await calls_wrongly(rig, await _tainted(rig, await work(rig)))


async def loads_and_calls_wrongly(rig: Rig, nothing: None) -> str:
    files = PolicyFiles(BREADTH, TARGETS)
    files.load()
    rig.world = replace(rig.world, policies=files)
    return await opens_and_calls_wrongly(rig, nothing)


# --- the directory `small`: files that must be refused ---------------------------------------------

PROFILE = (SMALL / "profiles/job.toml").read_text()
PARAMETERS, _, GRANTS = PROFILE.partition("[[grant]]")
HEAD = PARAMETERS.partition("[parameters")[0]
ID = 'id = "= id"'
# What stands in the good profile, and what instead of it.
BAD_CHANGES: tuple[tuple[str, str], ...] = (
    ("purpose =", "porpoise ="), ('purpose = "do one thing"\n', ""), ("do one thing", " "), ("human/alice", "agent/x"),
    ("human/alice", "human/a b"), ("review_by = 2027-05-01\n", ""), ("2027-05-01", '"2027-05-01"'),
    ('life = "10m"\n', ""), ('"10m"', '"10"'), ('"10m"', "10"), ('"10m"', '"0m"'), ('heartbeat_grace = "90s"\n', ""),
    ('"90s"', '"2s"'),
    ('"end"', '"go on"'), ("calls = 5", "calls = -1"), ("calls = 5", "calls = true"), ("calls = 5", "bytes = 1"),
    ("{ calls = 5 }", "5"), ("[parameters.id]", '[parameters."1"]'), ("[parameters.id]", "[parameters.other]"),
    ('pattern = "[0-9]+"', 'patern = "x"'), ('pattern = "[0-9]+"', 'pattern = "("'),
    ('pattern = "[0-9]+"', "minimum = 1"), ('pattern = "[0-9]+"', "pattern = 1"), ('pattern = "[0-9]+"', "values = []"),
    ('"object_id"', '"object"'),
    ("maximum = 100", 'maximum = "100"'), ("maximum = 100", 'pattern = "1"'), ("maximum = 100", "values = [0.00001]"),
    ('"<= max"', '"<= 5"'), ('"<= max"', '"= id"'), ('"up/do"', '"up/did"'), ('"up/do"', "1"),
    ('"shopdb/reader"', '"shopdb/owner"'), ('lease = "shopdb/reader"', ""),
    ('lease = "shopdb/reader"', 'lease = "shopdb/reader"\ntool = "up/do"'),
    ('lease = "shopdb/reader"', 'lease = "shopdb/reader"\nothers = "any"'), ("calls = 3", "calls = 0"),
    ("calls = 3", "calls = true"), ("calls = 3", "limit = 3"), ("ask = true", "ask = 1"),
    ("ask = true", 'others = "none"'), (ID + ", ", ""), ('count = "in [1, 2]"', 'number = "any"'),
    ('"in [1, 2]"', '"in []"'), ('"in [1, 2]"', '"in [1"'), ('"in [1, 2]"', '"in 1"'), ('"in [1, 2]"', "1"),
    ('"in [1, 2]"', '"1"'), ('"in [1, 2]"', "'like \"1*\"'"), ('"in [1, 2]"', "'= \"1\"'"), ('"in [1, 2]"', '"<= 1.5"'),
    ("'like \"ab*\"'", "'like \"ab\"'"), ("'like \"ab*\"'", "'like \"*\"'"), ("'like \"ab*\"'", '"like id"'),
    ("'like \"ab*\"'", "'<= \"ab\"'"), ('"<= max"', '"<= most"'), ('"<= max"', '"<= 0.00001"'),
    ("label = 'like \"ab*\"'", "body = '= \"x\"'"), ('lease = "shopdb/reader"', GRANTS.partition("[[grant]]")[0]),
)  # fmt: skip
BAD_PROFILES: tuple[str, ...] = (
    "purpose =",
    HEAD + "parameters = 1\n[[grant]]" + GRANTS,
    HEAD + "[parameters]\nid = 1\n[[grant]]" + GRANTS.replace("max", "5"),
    HEAD + "grant = 1",
    HEAD + "grant = [1]",
    HEAD + '[[grant]]\ntool = "up/do"\nwhen = 1',
)
FORBID = '@id("a") forbid(principal, action == Action::"tools/call", resource) when { %s };'
NOT_VALID = FORBID % "context.args has amount && context.args.amount < 5"  # only the validator refuses it
BAD_POLICIES: tuple[str, ...] = (
    "permit(",
    '\n\n@id("a") permit(principal, action, resource) when { 1 };;',
    "forbid(principal, action, resource);",
    '@id("start") forbid(principal, action, resource);',
    '@id("a") permit(principal, action, resource);',
    '@id("a") forbid(principal == ?principal, action, resource);',
    '@id("a") forbid(principal, action, resource == Tool::"up/did");',
    '@id("a") forbid(principal, action == Action::"task/open", resource == Tool::"up/do");',
    FORBID % "context.tsk == context.task",
    FORBID % "context.args has amont",
    NOT_VALID,
    FORBID % 'resource.owner == Human::"x"',
    FORBID % ("true" + " " * 20_000),
    FORBID % ("(" * 70 + "true" + ")" * 70),
    FORBID % "if true then (if true then true else false) else {[()]}",
    FORBID % ("context has a" + ".a" * 20),
    FORBID % " && ".join(["context.depth == 1"] * 60),
)


def small(**files: str) -> dict[str, bytes]:
    found = {str(path.relative_to(SMALL)): path.read_bytes() for path in sorted(SMALL.rglob("*.*"))}
    return {**found, **{path: text.encode() for path, text in files.items()}}


def changed(old: str, new: str) -> str:
    assert PROFILE.count(old) == 1, f"{old!r} stands {PROFILE.count(old)} times in the good profile"
    return PROFILE.replace(old, new)


CHANGED_PROFILES = tuple(changed(*pair) for pair in BAD_CHANGES)


def directories(path: str, texts: Sequence[str], without: str = "") -> Prepare:
    async def prepare(rig: Rig) -> list[dict[str, bytes]]:
        read_policy_dir(small(), TARGETS)  # the one from which they differ is in order
        found = [small(**{path: text}) for text in texts]
        return [{name: one for name, one in files.items() if not without or without not in name} for files in found]

    return prepare


async def reads(rig: Rig, bad: Iterable[Mapping[str, bytes]]) -> str:
    async def read(files: Mapping[str, bytes]) -> None:
        read_policy_dir(files, TARGETS)

    return await first_accepted(partial(read, files) for files in bad)


PERMIT = "permit(principal, action, resource);"
AGENT = Entity(Uid("Agent", "a"))


def _request(context: Any, *grants: str, asker: Entity = AGENT) -> Request:
    return Request(asker, Uid("Action", "tools/call"), Entity(Uid("Tool", "x")), context, (grants,) if grants else ())


READS_ALL = 'permit(principal, action, resource) when { context.args.a == "x" && {"b": context}.b.c == 1 };'


async def asks_the_engine_what_is_no_question(rig: Rig, nothing: None) -> str:
    def authorized(request: Request, *texts: str) -> None:
        if not authorize(PolicySet(map(parse_policy, texts)), request).permitted:
            raise Denied("the engine permits nothing")

    async def deed(do: Callable[[], object]) -> None:
        do()

    def odd() -> Entity:
        return Entity(AGENT.uid, (("n", Opaque("{}")), ("s", ("a", "b"))), (), (("t", "x"),))

    return await first_accepted(
        partial(deed, do)
        for do in (
            lambda: parse_policy(PERMIT + PERMIT),
            lambda: parse_policy("permit(principal == ?principal, action, resource);"),
            lambda: parse_policy("permit("),
            lambda: authorized(_request({}, "forbid(principal, action, resource);"), PERMIT),
            lambda: authorized(_request({"args": {"a": 1.5}, "c": 1}), READS_ALL),
            lambda: authorized(_request({"args": {"a": object()}}), READS_ALL),
            lambda: authorized(_request({"args": {}}, asker=odd()), READS_ALL),
            lambda: authorized(_request({}), "forbid(principal, action, resource) when { context.x };", PERMIT),
            lambda: authorized(_request({})),
            lambda: authorized(_request({}, asker=Entity(Uid("not a type", "a"))), PERMIT),
            lambda: schema_of("task/close", args={}, grant={}),
            lambda: validate(parse_policy(PERMIT), "entity"),
        )
    )


# --- all of them -----------------------------------------------------------------------------------

GET = calls(CallAsk("crm/get_order", {"id": "4711"}))
LOOK_UP = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 1, "leases": 0})
STRANGER = Claim("main", facts=Facts("unix", {"script": "/srv/stranger.py"}))


def no_labels(found: object) -> Any:
    return None


SCENARIOS: dict[str, tuple[Prepare, Act]] = {
    "permitted:call": (opened, calls(REFUND_CALL)),
    "permitted:call_again": (proved, GET),
    "permitted:child": (child, GET),
    "permitted:lease": (opened, leases("shopdb/reader")),
    "permitted:open": (claims(ALICE), opens(REFUND, spend=True)),
    "permitted:delegate": (opened, opens(LOOK_UP)),
    "permitted:intent": (claims(ALICE), opens(TaskAsk(intent="look around"))),
    "permitted:intent_delegate": (opened, opens(TaskAsk(intent="look", budget={"calls": 3, "leases": 0}))),
    "permitted:breadth_call": (at_work, calls(CallAsk("shop/order", RIGHT))),
    "permitted:breadth_delegate": (at_work, opens(RIGHT_WISH)),
    "permitted:breadth_delegate_too": (
        at_work,
        opens(wish(detail("shop/order", WITHIN_TOO, budget={"calls": 1}), budget={"calls": 1, "leases": 0})),
    ),
    "permitted:breadth_delegate_whole": (at_work, opens(wish(order(), budget={"calls": 1, "leases": 0}))),
    "permitted:attest": (claims(TESTER), attests),
    "permitted:issue": (node, issues("service/node")),
    "permitted:join": (token, joins(1)),
    "denied:outside_grants": (opened, calls(CallAsk("crm/refund", {"order_id": "4712", "amount": 1}))),
    "denied:invalid_argument": (opened, calls(CallAsk("crm/refund", {"order_id": "4711", "amount": "x"}))),
    "denied:changed_tool": (opened, calls(replace(REFUND_CALL, offered="sha256:another"))),
    "denied:unknown_tool": (opened, calls(CallAsk("crm/nothing", {}))),
    "denied:no_task": (claims(ALICE), GET),
    "denied:ended": (over, calls(REFUND_CALL)),
    "denied:not_granted": (child, calls(REFUND_CALL)),
    "denied:race_for_the_last": (exhausted, with_answers(1, GET, left=one_left)),
    "denied:check_fails": (opened, with_answers(1, GET, left=lambda left: dict.fromkeys(left))),
    "denied:evaluation_fails": (opened, with_answers(1, GET, labels=no_labels)),
    "denied:administration": (claims(ALICE), administers),
    "denied:identify": (claims(ALICE), identifies_what_does_not_fit),
    "denied:engine": (claims(ALICE), asks_the_engine_what_is_no_question),
    "denied:breadth_load": (staff, loads_and_calls_wrongly),
    "denied:breadth_open": (staff, opens_and_calls_wrongly),
    "denied:breadth_calls": (tainted, calls_wrongly),
    "denied:breadth_wider": (at_work, asks_for(WIDER_WISHES)),
    "denied:values": (staff, lambda rig, _: asks_for(WRONG_ASKS)(rig, BOB)),
    "denied:details": (staff, lambda rig, _: asks_for(BAD_ASKS)(rig, BOB)),
    "denied:changed_profiles": (directories("profiles/job.toml", CHANGED_PROFILES), reads),
    "denied:bad_profiles": (directories("profiles/job.toml", BAD_PROFILES), reads),
    "denied:not_valid": (directories("organisation/a.cedar", [NOT_VALID], without="profiles"), reads),
    "denied:bad_names": (node, registers_wrongly),
    "denied:bad_policies": (directories("organisation/two.cedar", BAD_POLICIES), reads),
    "Denied:nhi8": (tester, leases("shopdb/reader")),
    "Denied:may_more": (tester, opens(replace(LOOK_UP, actor="agent/helper"))),
    "Denied:not_yours": (claims(TESTER), opens(REFUND)),
    "Denied:unknown_lease": (opened, leases("shopdb/owner")),
    "Denied:wider": (opened, opens(replace(LOOK_UP, set={"order_id": "1"}))),
    "Denied:unknown_profile": (claims(ALICE), opens(TaskAsk("nothing"))),
    "Denied:pin": (claims(ALICE), pins),
    "Denied:register": (claims(ALICE), registers),
    "Denied:register_in_a_task": (opened, registers),
    "Denied:issue": (not_ours, issues("service/node")),
    "Denied:unknown_agent": (claims(ALICE), opens(replace(REFUND, actor="agent/nobody"))),
    "BudgetSpent:lease": (spent_lease, leases("shopdb/reader")),
    "BudgetSpent:lease_race": (spent_lease, with_answers(1, leases("shopdb/reader"), left=one_lease_left)),
    "BudgetSpent:race_lost_twice": (exhausted, with_answers(2, GET, left=one_left)),
    "TaskEnded:lease": (over, leases("shopdb/reader")),
    "TargetUnavailable:no_provider": (opened, leases("shopdb/reader", providers={})),
    "Conflict:issue": (node, issues("agent/tester")),
    "InvalidRequest:issue": (node, issues("service/node", life=11)),
    "InvalidRequest:issue_to_no_name": (node, issues("..")),
    "NotFound:issue": (node, issues("service/nobody")),
    "Replayed:join": (token, joins(2)),
    "Replayed:one_time": (claims(ALICE), proves_twice),
    "Unauthenticated:attest_a_handle": (opened, attests),
    "Unauthenticated:expired": (old_token, joins(1)),
    "Unauthenticated:superseded": (superseded, joins(1)),
    "Unauthenticated:no_join_token": (old_token, lambda rig, shown: joins(1)(rig, shown[1:])),
    "Unauthenticated:stranger": (claims(STRANGER), calls(REFUND_CALL)),
    "Unauthenticated:nothing_shown": (claims(Claim("main")), calls(REFUND_CALL)),
    "Unauthenticated:unknown_handle": (claims(Claim("main", handle="00")), calls(REFUND_CALL)),
    "Unauthenticated:two_match": (doubled, GET),
    "Unauthenticated:suspended": (suspended, calls(REFUND_CALL)),
    "Unauthenticated:other_organisation": (claims(replace(ALICE, org="other")), calls(REFUND_CALL)),
    "Unauthenticated:proved_elsewhere": (proved, calls_in_another_organisation),
}
