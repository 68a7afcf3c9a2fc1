"""What else the sweep of test_raise runs: policies loaded, tools pinned and seen, tasks closed, facts refused.

As in `scenarios`: name -> (prepare, act). `permitted` is also a directory in force, a tool that can be used and a task
that is closed. Whatever came out, what is in force by then has to be on record: else it is `unrecorded`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from taskbound.core.catalogue import Tool, pin_of
from taskbound.core.event import Kind
from taskbound.core.identity import JOIN_TOKEN, Claim, Identity, Registration
from taskbound.core.lease import Lease, fall_due
from taskbound.core.organisation import operator_policy
from taskbound.core.policy_dir import PolicyDir, decoded, read_policy_dir, read_tools
from taskbound.core.receipt import verify_receipt
from taskbound.core.refusal import Problems
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.steps.close_task import close_task, ended_tasks, read_receipt
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_token import issue_token
from taskbound.steps.load_policy import load_policy, warnings_of
from taskbound.steps.pin_tools import pin_tools, see_tools
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.faults.deeds import (
    CARLA,
    KEY,
    Between,
    Does,
    Kept,
    Work,
    begun,
    does,
    leased,
    strangers,
    takes_back,
)
from tests.faults.scenarios import LOOK_UP, TESTER, Act, Prepare, as_if_loaded
from tests.rig import ALICE, POLICY, Rig
from tests.shop.targets import TARGETS

# --- policies ----------------------------------------------------------------------------------------

OPERATOR = "human/alice"
ENTRY = '[[registration]]\nid = "agent/%s"\nowner = "human/%s"\nenvironment = "dev"\n%s\n'
UNIX, JOINS = 'attestor = "unix"\nwhen = { script = "/srv/%s" }', 'attestor = "join_token"'
BEFORE = (("joins", "alice", JOINS), ("moves", "alice", UNIX % "old"), ("gone", "alice", UNIX % "gone"))
WANTED = (*BEFORE[::2], ("moves", "alice", UNIX % "new"), ("nightly", "alice", UNIX % "nightly"))
UNWANTED = {  # why a load is refused, and what stands in the file
    "ownerless": ENTRY % ("new", "nobody", UNIX % "new"),
    "of_the_suspended": ENTRY % ("new", "carla", UNIX % "new"),
    "with_a_token_of_ones_own": ENTRY % ("new", "alice", JOINS + '\nwhen = { token = "00" }'),
}

PROFILE = b'purpose = "p"\nowner = "human/alice"\nreview_by = 2027-05-01\nlife = "1m"\n[[grant]]\ntool = "crm/refund"\n'
MISTAKEN = {  # in a profile that may be refused with a line to paste
    "an_argument_misplaced": PROFILE + b'amount = "any"\n',
    "an_argument_missing": PROFILE + b'when = { amount = "<= 5" }\n',
}


def entries(stated: tuple[tuple[str, str, str], ...]) -> bytes:
    return "".join(ENTRY % one for one in stated).encode()


@cache
def shop(operator: str = OPERATOR) -> PolicyDir:
    """Return the story's directory, which alice administers, or another; read once."""
    files = PolicyFiles(POLICY, TARGETS, operator_policy(operator))
    files.load()
    return files.current


class Directory(Kept):
    """A policy directory in memory that can be edited, read, pinned in and put in force."""

    def __init__(self, operator: str = OPERATOR) -> None:
        super().__init__(as_if_loaded(shop(operator)))
        self.files = dict(shop(operator).files)
        self._built_in = operator_policy(operator)

    def read(self) -> PolicyDir:
        return read_policy_dir(self.files, TARGETS, self._built_in)

    def tools(self, upstream: str) -> dict[str, Tool]:
        problems = Problems()
        own = {path: text for path, text in self.files.items() if path.startswith(f"tools/{upstream}.")}
        found = {tool.name: tool for _, tool in read_tools(decoded(own), problems)}
        problems.require_none()
        return found


class Restless(Directory):
    """A directory that somebody else puts in force whenever it is read."""

    def read(self) -> PolicyDir:
        self.current = replace(self.current)
        return super().read()


def edited(files: Mapping[str, bytes], kept: type[Directory] = Directory, prepare: Prepare | None = None) -> Prepare:
    """Return the preparation of a world that alice administers, whose files were edited since they were loaded."""

    async def prepared(rig: Rig) -> Any:
        directory = kept()
        rig.world = replace(rig.world, policies=directory, operator=f"spiffe://{rig.world.trust_domain}/{OPERATOR}")
        given = await prepare(rig) if prepare else None
        directory.files.update(files)
        return given

    return prepared


async def registered(rig: Rig) -> None:
    """What stood in the file before: who joins has a token by now, and one has retired."""
    rig.world.policies.write({"registrations.toml": entries(BEFORE)})
    await load_policy(rig.world, rig.door, rig.door)
    async with rig.store.transaction(rig.door) as tx:
        (joins,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/joins")
        issued = replace(joins, when={"token": "digest"})
        await tx.record(Kind.IDENTITY_REGISTERED, advance(issued, Kind.IDENTITY_REGISTERED))
        (gone,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/gone")
        await tx.record(Kind.IDENTITY_RETIRED, advance(gone, Kind.IDENTITY_RETIRED))


async def carla_suspended(rig: Rig) -> None:
    await register_identity(
        rig.world, rig.door, rig.door, RegistrationAsk("human/carla", "human/carla", "operator", {"uid": 1002})
    )
    async with rig.store.transaction(rig.door) as tx:
        (carla,) = await tx.find(Registration, spiffe_id="spiffe://example.org/human/carla")
        await tx.record(Kind.IDENTITY_SUSPENDED, advance(carla, Kind.IDENTITY_SUSPENDED))


def recorded(step: Does) -> Act:
    """Return the act of a step after which, however it went, nothing is in force that is not on record."""

    async def act(rig: Rig, given: Any) -> str:
        before = rig.world.policies.current
        try:
            return await does(step)(rig, given)
        except BaseException:
            if not is_recorded(rig, before):
                return "unrecorded"
            raise

    return act


def is_recorded(rig: Rig, before: PolicyDir) -> bool:
    """Whether each tool that is new in force has a record of its pin, and each other policy one of its load."""
    now = rig.world.policies.current
    kinds = {Kind.TOOL_PINNED, Kind.TOOL_SEEN}
    pins = {(one.id, one.detail["pin"]) for one in rig.store.events if one.kind in kinds}
    loads = {one.id for one in rig.store.events if one.kind is Kind.POLICY_LOADED}
    known = {(tool.resource, tool.pin) for tool in before.tools.values()}
    new = {(tool.resource, tool.pin) for tool in now.tools.values()} - known
    names = [[policy.id for policy in one.organisation.policies] for one in (before, now)]
    return new <= pins and (names[0] == names[1] or now.version in loads)


FORBID = b'@id("stop") forbid(principal, action == Action::"tools/call", resource == Tool::"crm/refund");'
NEWER = {"organisation/stop.cedar": FORBID, "registrations.toml": entries(WANTED)}


async def administers(rig: Rig, nothing: None) -> None:
    """Load a directory that names its administrator, and act as the one whom it names."""
    files = PolicyFiles(POLICY, TARGETS, operator_policy(OPERATOR))
    files.load()
    rig.world = replace(rig.world, policies=files)
    await register_identity(
        rig.world, rig.door, ALICE, RegistrationAsk("agent/new", OPERATOR, "unix", {"script": "/srv/new.py"})
    )


def loads(who: Callable[[Rig], Claim | Identity] = lambda rig: ALICE) -> Does:
    async def load(rig: Rig, given: Any) -> None:
        loaded = await load_policy(rig.world, rig.door, who(rig))
        assert rig.world.policies.current is loaded and is_recorded(rig, shop())
        async with rig.store.transaction(rig.door) as tx:
            for entry in loaded.registrations:
                found = await tx.find(Registration, spiffe_id=f"spiffe://example.org/{entry.name}")
                assert found, f"{entry.name} is not registered"
                assert found[0].attestor == JOIN_TOKEN or found[0].state == "retired" or found[0].when == entry.when

    return load


async def loads_beside_another(rig: Rig, given: Any) -> None:
    """Another load is faster, and its directory is newer: it is not put out of force."""
    kept: Any = rig.world.policies

    async def another() -> None:
        kept.write({"organisation/more.cedar": FORBID.replace(b"stop", b"more")})
        await load_policy(rig.world, rig.door, rig.door)

    class Late(Between):
        def __init__(self) -> None:
            super().__init__(rig.world.store, another)
            self._opened = 1  # before the first transaction

    await load_policy(replace(rig.world, store=Late()), rig.door, ALICE)
    assert "more" in {policy.id for policy in kept.current.organisation.policies}


async def warned(rig: Rig, given: Any) -> None:
    """What nobody reviewed, and who stands in the file no more."""
    policies: Any = rig.world.policies
    before = policies.read()
    policies.write({"registrations.toml": b""})
    tools = "tools/crm.toml"
    unread = b"\n".join(line for line in policies.files[tools].splitlines() if not line.startswith(b"reviewed"))
    policies.write({tools: unread})
    assert len(warnings_of(policies.read(), before)) == 1 + len(WANTED)


# --- tools -------------------------------------------------------------------------------------------

ID = {"type": "string"}
FIND = {"name": "find_order", "inputSchema": {"properties": {"query": ID}}}
ORDER, MONEY = (dict(shop().tools[name].definition) for name in ("crm/get_order", "crm/refund"))
OTHER = {**ORDER, "description": "now it forwards too"}
NUMBERED = {**ORDER, "inputSchema": {"properties": {"number": ID}, "required": ["number"]}}
ODD = {"name": "get_rate", "inputSchema": {"properties": {"amount": {"type": "integer"}}}}
HIGH = b"""@id("high") forbid(principal, action == Action::"tools/call", resource)
when { context.args has amount && context.args.amount.greaterThan(decimal("100.0")) };"""


def pins(*offered: Mapping[str, Any], who: Callable[[Rig], Claim | Identity] = lambda rig: ALICE) -> Does:
    async def pin(rig: Rig, given: Any) -> None:
        found = await pin_tools(rig.world, rig.door, who(rig), "crm", offered)
        in_force = rig.world.policies.current.tools
        assert found == {str(one["name"]): in_force[f"crm/{one['name']}"].pin for one in offered}
        assert is_recorded(rig, shop())

    return pin


async def pins_nothing(rig: Rig, given: Any) -> None:
    assert await pin_tools(rig.world, rig.door, ALICE, "crm", [{"name": "no name"}]) == {}


def sees(*offered: Mapping[str, Any], may_add: bool = True, times: int = 1) -> Does:
    """Return the step that looks at what is offered: what is new is used, what changed is noted and denied."""

    async def see(rig: Rig, given: Any) -> None:
        for _ in range(times):
            await see_tools(rig.world, rig.door, "crm", offered, may_add=may_add)
        kinds = {Kind.TOOL_SEEN, Kind.TOOL_QUARANTINED}
        noted = [(one.id, one.detail["pin"]) for one in rig.store.events if one.kind in kinds]
        known = {tool.pin for tool in shop().tools.values()}
        strange = [(f"crm/{one['name']}", pin_of(one)) for one in offered if pin_of(one) not in known]
        assert sorted(noted) == sorted(one for one in strange if may_add or one[0] in shop().tools)
        in_force = rig.world.policies.current.tools
        for name, _ in noted:
            assert name not in shop().tools or in_force[name].pin == shop().tools[name].pin

    return see


async def sees_what_cannot_be(rig: Rig, given: Any) -> str:
    """See a tool with which a policy in force cannot go on: it stays unknown, and is denied."""
    await see_tools(rig.world, rig.door, "crm", [ODD], may_add=True)
    return "permitted" if "crm/get_rate" in rig.world.policies.current.tools else "denied"


async def with_high(rig: Rig) -> None:
    rig.world.policies.write({"organisation/high.cedar": HIGH})
    await load_policy(rig.world, rig.door, rig.door)


# --- closing -----------------------------------------------------------------------------------------


async def over_and_back(rig: Rig) -> Work:
    """A task and one below it that ended, of which nothing is out: a call, a login and a token are past."""
    work = await leased(rig)
    await decide_call(rig.world, rig.door, work.agent, CallAsk("crm/get_order", {"id": "4711"}))
    await issue_token(rig.world, rig.door, work.agent, work.task.id, KEY)
    below = await begun(rig, LOOK_UP, work.agent)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    await takes_back(rig, work)
    assert below.task.parent == work.task.id
    return work


async def children(rig: Rig, id: str) -> list[Task]:
    async with rig.store.transaction(rig.lane) as tx:
        found: list[Task] = await tx.find(Task, parent=id)
    return found


async def closes(rig: Rig, work: Work) -> None:
    """Close the child, then the task; both receipts are right."""
    order = [*(task.id for task in await children(rig, work.task.id)), work.task.id]
    assert await ended_tasks(rig.world, rig.lane, "", 9) == sorted(order)
    for id in order:
        assert await close_task(rig.world, rig.lane, id) is not None
    async with rig.store.transaction(rig.lane) as tx:
        states = [(await tx.get(Task, id)).state for id in order]
    assert states == ["closed", "closed"]
    assert await ended_tasks(rig.world, rig.lane, "", 9) == []


async def alone(rig: Rig) -> Work:
    """A task that ended, and whose login was taken back."""
    work = await leased(rig)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    await takes_back(rig, work)
    return work


async def with_a_login_out(rig: Rig) -> Work:
    work = await leased(rig)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    return work


async def out_of_order(rig: Rig) -> Work:
    """A child that was closed before the one below it, as nothing of ours does it."""
    work = await begun(rig)
    child = await begun(rig, replace(LOOK_UP, budget={"calls": 2, "leases": 0}), work.agent)
    await begun(rig, LOOK_UP, child.agent)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    async with rig.store.transaction(rig.lane) as tx:
        ended = await tx.get(Task, child.task.id)
        await tx.record(Kind.TASK_CLOSED, advance(ended, Kind.TASK_CLOSED, receipt="by hand"))
    return work


async def waits(rig: Rig, work: Work) -> str:
    """Close what must not be closed yet."""
    closed = await close_task(rig.world, rig.lane, work.task.id)
    return "waits" if closed is None else "permitted"


def waits_while(happens: Callable[[Rig, Work], Awaitable[object]]) -> Act:
    """Return the act of closing a task to which something happens while its receipt is signed."""

    async def act(rig: Rig, work: Work) -> str:
        """Close it, and look at what it was closed with: what happened is in the receipt, or it is not closed by it."""
        world = replace(rig.world, store=Between(rig.world.store, partial(happens, rig, work)))
        return "waits" if await close_task(world, rig.lane, work.task.id) is None else "permitted"

    return act


async def is_closed_by_another(rig: Rig, work: Work) -> None:
    assert await close_task(rig.world, rig.lane, work.task.id) is not None


async def comes_back(rig: Rig, work: Work) -> None:
    """The sweep sees the name of a lease again."""
    async with rig.store.transaction(rig.lane) as tx:
        (lease,) = await tx.find(Lease, task=work.task.id)
        await tx.record(Kind.LEASE_FELL_DUE, fall_due(replace(lease, cut=None), tx.now))


async def comes_back_and_is_gone(rig: Rig, work: Work) -> None:
    """It is taken back once more, and its record is another by now."""
    await comes_back(rig, work)
    rig.clock.advance(1)
    await takes_back(rig, work)


async def closed(rig: Rig) -> Work:
    work = await strangers(rig)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    await close_task(rig.world, rig.lane, work.task.id)
    return work


async def ended(rig: Rig) -> Work:
    work = await begun(rig)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    return work


def reads_receipt(who: Claim) -> Does:
    async def read(rig: Rig, work: Work) -> None:
        note, key = await read_receipt(rig.world, rig.door, who, work.task.id)
        assert verify_receipt(note.encode(), key).problems == ()

    return read


# --- facts that cannot be ----------------------------------------------------------------------------


async def closes_what_is_open(rig: Rig, work: Work) -> None:
    async with rig.store.transaction(rig.lane) as tx:
        await tx.record(Kind.TASK_CLOSED, advance(work.task, Kind.TASK_CLOSED))


def states(kind: Kind, **moved: Mapping[str, int]) -> Does:
    """Return the step that states a fact which moves what it cannot."""

    async def state(rig: Rig, given: Any) -> None:
        async with rig.store.transaction(rig.lane) as tx:
            await tx.record(kind, id="x", **moved)

    return state


SCENARIOS: dict[str, tuple[Prepare, Act]] = {
    # policies
    "permitted:administer": (edited({}), does(administers)),
    "permitted:load": (edited(NEWER, prepare=registered), recorded(loads())),
    "permitted:load_by_us": (edited(NEWER), recorded(loads(lambda rig: rig.door))),
    "permitted:load_beside_another": (edited({}), recorded(loads_beside_another)),
    "permitted:warned": (edited(NEWER), does(warned)),
    "Conflict:load": (edited(NEWER, Restless), does(loads())),
    "Denied:load": (edited(NEWER), recorded(loads(lambda rig: TESTER))),
    **{
        f"InvalidRequest:load_{why}": (
            edited({**NEWER, "registrations.toml": text.encode()}, prepare=carla_suspended),
            recorded(loads()),
        )
        for why, text in UNWANTED.items()
    },
    **{
        f"InvalidRequest:load_with_{why}": (edited({**NEWER, "profiles/new.toml": text}), recorded(loads()))
        for why, text in MISTAKEN.items()
    },
    # tools
    "permitted:pin": (edited({}), recorded(pins(OTHER, MONEY, FIND))),
    "permitted:pin_by_us": (edited({}), recorded(pins(FIND, who=lambda rig: rig.door))),
    "permitted:pin_nothing": (edited({}), recorded(pins_nothing)),
    "InvalidRequest:pin_what_a_profile_needs": (edited({}), recorded(pins(NUMBERED, MONEY))),
    "Denied:pin_by_another": (edited({}), recorded(pins(FIND, who=lambda rig: TESTER))),
    "permitted:see": (edited({}), recorded(sees(OTHER, MONEY, FIND))),
    "permitted:see_in_production": (edited({}), recorded(sees(OTHER, FIND, may_add=False, times=2))),
    "permitted:see_nothing": (edited({}), recorded(sees(ORDER, MONEY))),
    "denied:see_what_cannot_be": (edited({}, prepare=with_high), sees_what_cannot_be),
    # closing
    "permitted:close": (over_and_back, does(closes)),
    "waits:open": (begun, waits),
    "waits:child": (over_and_back, waits),
    "waits:login": (with_a_login_out, waits),
    "waits:out_of_order": (out_of_order, waits),
    "waits:closed_by_another": (alone, waits_while(is_closed_by_another)),
    "waits:login_came_back": (alone, waits_while(comes_back)),
    "waits:login_came_back_and_is_gone": (alone, waits_while(comes_back_and_is_gone)),
    "permitted:receipt": (closed, does(reads_receipt(ALICE))),
    "Denied:receipt": (closed, does(reads_receipt(CARLA))),
    "NotFound:receipt_of_what_ended": (ended, does(reads_receipt(ALICE))),
    "NotFound:receipt_of_what_is_open": (begun, does(reads_receipt(ALICE))),
    # facts that cannot be
    "IllegalTransition:close": (begun, does(closes_what_is_open)),
    "TypeError:spends": (begun, does(states(Kind.NODE_STARTED, spent={"calls": 1}))),
    "TypeError:shares": (begun, does(states(Kind.NODE_STARTED, shared={"calls": 1}))),
}
