"""What else the sweep of test_raise runs of the steps: tokens, ends, taking back, looking up, administration.

As in `scenarios`: name -> (prepare, act), and the name begins with what comes out without a fault. `permitted` is
here also what was done to the end: a task ended, a login taken back, a name suspended. Under a fault none of that
may be claimed either.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from typing import Any
from unittest.mock import patch

from taskbound.core.errors import Denied, StillLetIn, TargetUnavailable, Unauthenticated, Unavailable
from taskbound.core.event import Kind
from taskbound.core.grant import said
from taskbound.core.identity import Claim, Facts, Identity, OneTime, Process, Registration, Token
from taskbound.core.lease import STUCK, Lease
from taskbound.core.organisation import operator_policy
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import resume_tree, suspend_tree
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.steps import open_task as opening
from taskbound.steps.attest_workload import admit_token, issue_join_token
from taskbound.steps.decide_call import CallAsk, Outcome, complete_call, decide_call
from taskbound.steps.end_task import end_due_tasks, end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.issue_token import issue_token
from taskbound.steps.look_up import (
    count_tasks,
    look_up,
    look_up_lives,
    look_up_task,
    look_up_tasks,
    read_log,
    require_acting,
)
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import (
    FILE,
    RegistrationAsk,
    register_and_write,
    register_identity,
    resume_identity,
    retire_identity,
    suspend_identity,
)
from taskbound.steps.revoke_lease import (
    clean_lease,
    cut_lease,
    due_leases,
    mark_due,
    mark_overdue,
    revoke_lease,
    sweep_target,
)
from taskbound.steps.seal_log import seal_log
from tests.faults.scenarios import (
    GET,
    LOOK_UP,
    NODE,
    TESTER,
    Act,
    InForce,
    Prepare,
    as_if_loaded,
    at_work,
    claims,
    detail,
    exhausted,
    first_accepted,
    one_left,
    opened,
    opens,
    over,
    with_answers,
)
from tests.rig import ALICE, POLICY, Rig
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of

Does = Callable[[Rig, Any], Awaitable[object]]

CARLA = Claim("main", facts=replace(ALICE.facts, of={"uid": 1002}))  # type: ignore[type-var]
KEY = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
READER = LeaseAsk("shopdb/reader")
KEYED = replace(REFUND, idempotency_key="k")


def does(step: Does) -> Act:
    """Return the act of a step that gives something, or does it to the end, where it raises nothing."""

    async def act(rig: Rig, given: Any) -> str:
        await step(rig, given)
        return "permitted"

    return act


# --- who asks, and in what --------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """An open task, the claim of who works in it, and alice's name for it."""

    task: Task
    agent: Claim


async def begun(rig: Rig, ask: TaskAsk = REFUND, who: Claim = ALICE) -> Work:
    task, handle = await open_task(rig.world, rig.door, who, ask)
    return Work(task, claim_of(handle))


async def strangers(rig: Rig) -> Work:
    """A task of alice's agent; carla is registered, and owns none of it."""
    carla = RegistrationAsk("human/carla", "human/carla", "operator", {"uid": 1002})
    await register_identity(rig.world, rig.door, rig.door, carla)
    return await begun(rig)


@cache
def directory(operator: str) -> PolicyDir:
    """Return the story's policy directory, administered by this operator; read once."""
    files = PolicyFiles(POLICY, TARGETS, operator_policy(operator))
    files.load()
    return files.current


def administered(prepare: Prepare) -> Prepare:
    """Return the preparation in a world that alice administers, whose policy directory is kept in memory."""

    async def prepared(rig: Rig) -> Any:
        operator = f"spiffe://{rig.world.trust_domain}/human/alice"
        rig.world = replace(rig.world, policies=Kept(as_if_loaded(directory("human/alice"))), operator=operator)
        return await prepare(rig)

    return prepared


class Kept(InForce):
    """A policy directory whose files are kept in memory."""

    def __init__(self, current: Any) -> None:
        super().__init__(current)
        self.files: dict[str, bytes] = {}

    def file(self, path: str) -> bytes:
        return self.files.get(path, b"")

    def write(self, files: Mapping[str, bytes]) -> None:
        self.files.update(files)


# --- a task token ------------------------------------------------------------------------------------


def shown(rig: Rig, of: Task, key: str = KEY, proof: str = "proof", **changed: Any) -> Claim:
    """Return the claim of who shows a token of the task, and a proof of a key."""
    now = rig.clock.at
    token = Token("j1", "main", of.id, of.actor, KEY, now, now + timedelta(seconds=300))
    spend = OneTime("DPoP proof", proof, now + timedelta(seconds=60), now, "invalid_dpop_proof")
    return Claim("main", token=replace(token, **changed), key=key, spend=(spend,))


def with_token(**changed: Any) -> Prepare:
    async def prepare(rig: Rig) -> Claim:
        return shown(rig, (await begun(rig)).task, **changed)

    return prepare


async def admits(rig: Rig, who: Claim) -> None:
    await admit_token(rig.world, rig.door, who)


async def admits_twice(rig: Rig, who: Claim) -> None:
    for _ in range(2):
        await admit_token(rig.world, rig.door, who)


async def refused_tokens(rig: Rig) -> list[Claim]:
    work, other = await begun(rig), await begun(rig)
    await end_task(rig.world, rig.door, ALICE, other.task.id, "done")
    now = rig.clock.at
    return [
        shown(rig, work.task, proof="1", key="another"),
        shown(rig, work.task, proof="2", org="other"),
        shown(rig, work.task, proof="3", actor=other.task.root),
        shown(rig, work.task, proof="4", task="t-nobody"),
        shown(rig, work.task, proof="5", until=now),
        shown(rig, work.task, proof="6", since=now + timedelta(seconds=60)),
        replace(shown(rig, work.task), spend=(OneTime("DPoP proof", "7", now - timedelta(1), None, "x"),)),
        replace(shown(rig, work.task), spend=(OneTime("DPoP proof", "8", now, now + timedelta(1), "x"),)),
        shown(rig, work.task, proof="4", task="t-nobody"),  # noted once
    ]


async def admits_none(rig: Rig, shown: list[Claim]) -> str:
    """Offer each token that is none. `permitted` when one of them is admitted."""

    async def refused(claim: Claim) -> None:
        try:
            await admit_token(rig.world, rig.door, claim)
        except Unauthenticated as error:
            raise Denied(str(error)) from None

    return await first_accepted(partial(refused, claim) for claim in shown)


def tokens(key: str = KEY, who: str = "agent") -> Does:
    async def issue(rig: Rig, work: Work) -> None:
        asker = work.agent if who == "agent" else work.task
        assert await issue_token(rig.world, rig.door, asker, work.task.id, key) is not None  # type: ignore[arg-type]

    return issue


async def is_fresh(rig: Rig, work: Work) -> str:
    """Ask for a token with one that is fresh. `permitted` when another is given."""
    given = await issue_token(rig.world, rig.door, shown(rig, work.task), work.task.id, KEY)
    return "fresh" if given is None else "permitted"


async def replaces_an_old_one(rig: Rig, work: Work) -> None:
    old = shown(rig, work.task, until=rig.clock.at + timedelta(seconds=100))
    assert await issue_token(rig.world, rig.door, old, work.task.id, KEY) is not None


async def token_of_another(rig: Rig, work: Work) -> None:
    await issue_token(rig.world, rig.door, CARLA, work.task.id, KEY)


async def actor_gone(rig: Rig) -> Work:
    """A task whose actor was suspended while it is asked for from above."""
    work = await begun(rig)
    child = await begun(rig, replace(LOOK_UP, actor="agent/helper"), work.agent)
    async with rig.store.transaction(rig.door) as tx:
        (helper,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/helper")
        await tx.record(Kind.IDENTITY_SUSPENDED, advance(helper, Kind.IDENTITY_SUSPENDED))
    return Work(child.task, work.agent)


# --- leases, and what happens while one is made ------------------------------------------------------


class Meanwhile:
    """A provider at which something happens while it makes a credential; `held` answers what a probe gets."""

    def __init__(self, provider: Any, happens: Callable[[Lease], Awaitable[object]]) -> None:
        self._provider, self._happens = provider, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def create(self, lease: Lease) -> Any:
        made = await self._provider.create(lease)
        await self._happens(lease)
        return made


def leases_while(happens: Callable[[Rig, Lease], Awaitable[object]]) -> Does:
    async def lease(rig: Rig, work: Work) -> None:
        shop = Meanwhile(rig.world.providers["shopdb"], partial(happens, rig))
        world = replace(rig.world, providers={**rig.world.providers, "shopdb": shop})
        await issue_lease(world, rig.door, work.agent, READER)

    return lease


async def too_late(rig: Rig, lease: Lease) -> None:
    rig.clock.advance(10)
    await mark_due(rig.world, rig.lane)


async def it_ends(rig: Rig, lease: Lease) -> None:
    await end_task(rig.world, rig.door, ALICE, lease.task or "", "done")


async def it_is_suspended(rig: Rig, lease: Lease) -> None:
    async with rig.store.transaction(rig.door) as tx:
        task = await tx.get(Task, lease.task or "")
        await tx.record(Kind.TASK_SUSPENDED, advance(task, Kind.TASK_SUSPENDED))


async def it_is_suspended_for_a_moment(rig: Rig, lease: Lease) -> None:
    async with rig.store.transaction(rig.door) as tx:
        await suspend_tree(tx, rig.door, lease.task or "", "odd")
    async with rig.store.transaction(rig.door) as tx:
        await resume_tree(tx, rig.door, lease.task or "", "odd")


async def its_holder_is_suspended(rig: Rig, lease: Lease) -> None:
    async with rig.store.transaction(rig.door) as tx:
        (support,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/support")
        await tx.record(Kind.IDENTITY_SUSPENDED, advance(support, Kind.IDENTITY_SUSPENDED))


async def stuck(rig: Rig) -> Work:
    """A target at which a lease could not be taken back for too long."""
    work = await leased(rig)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    rig.clock.advance(STUCK.total_seconds() + 60)
    return await begun(rig)


async def leased(rig: Rig) -> Work:
    work = await begun(rig)
    await issue_lease(rig.world, rig.door, work.agent, READER)
    return work


async def leases(rig: Rig, work: Work) -> None:
    await issue_lease(rig.world, rig.door, work.agent, READER)


# --- ending, and taking back -------------------------------------------------------------------------


def family(prepare: Prepare) -> Prepare:
    """Return the preparation with a child of the task, which has a login too."""

    async def prepared(rig: Rig) -> Work:
        work: Work = await prepare(rig)
        await begun(rig, LOOK_UP, work.agent)
        return work

    return prepared


def ends(who: Callable[[Rig, Work], Claim | Identity]) -> Does:
    async def end(rig: Rig, work: Work) -> None:
        ended = await end_task(rig.world, rig.door, who(rig, work), work.task.id, "done")
        assert work.task.id in {task.id for task in ended}
        assert await end_task(rig.world, rig.door, rig.lane, work.task.id, "again") == []

    return end


async def ends_a_child(rig: Rig, work: Work) -> None:
    async with rig.store.transaction(rig.door) as tx:
        (child,) = await tx.find(Task, parent=work.task.id)
    await end_task(rig.world, rig.door, work.agent, child.id, "done")


async def over_time(rig: Rig) -> Work:
    work = await leased(rig)
    rig.clock.advance(3600)
    return work


async def ends_what_is_due(rig: Rig, work: Work) -> None:
    assert await end_due_tasks(rig.world, rig.lane)


class Breaking:
    """A store in which one thing cannot be read any more."""

    def __init__(self, store: Any, broken: str) -> None:
        self._store, self._broken = store, broken

    def transaction(self, opener: Identity) -> Any:
        return _Broken(self._store.transaction(opener), self._broken)


@dataclass
class _Broken:
    context: Any
    broken: str
    tx: Any = None

    async def __aenter__(self) -> "_Broken":
        self.tx = await self.context.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self.context.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tx, name)

    async def get(self, noun: Any, id: str, **how: Any) -> Any:
        if id == self.broken:
            raise OSError("this row cannot be read")
        return await self.tx.get(noun, id, **how)


class Between:
    """A store in which something happens once, before the second transaction."""

    def __init__(self, store: Any, happens: Callable[[], Awaitable[object]]) -> None:
        self._store, self._happens, self._opened = store, happens, 0

    @asynccontextmanager
    async def transaction(self, opener: Identity) -> Any:
        self._opened += 1
        if self._opened == 2:
            await self._happens()
        async with self._store.transaction(opener) as tx:
            yield tx


async def ends_beside_another(rig: Rig, work: Work) -> None:
    """What was due has ended when its turn comes."""
    by_another = partial(end_task, rig.world, rig.door, rig.lane, work.task.id, "done")
    store = Between(rig.world.store, by_another)
    assert await end_due_tasks(replace(rig.world, store=store), rig.lane) == []


def with_a_broken_row(step: Callable[[Any, Identity], Awaitable[object]], noun: type[Task | Lease]) -> Does:
    async def act(rig: Rig, given: Any) -> None:
        (row, *_) = [thing for thing in rig.store.things.values() if isinstance(thing, noun)]
        await step(replace(rig.world, store=Breaking(rig.world.store, row.id)), rig.lane)

    return act


def idle(seconds: int, child: bool) -> Prepare:
    """Return a task that ends when nothing happened in it for a minute, that long after something did."""

    async def prepare(rig: Rig) -> Work:
        current = rig.world.policies.current
        profiles = {name: replace(one, idle=timedelta(seconds=60)) for name, one in current.profiles.items()}
        rig.world = replace(rig.world, policies=InForce(replace(current, profiles=profiles)))
        work = await begun(rig)
        if child:
            await begun(rig, LOOK_UP, work.agent)
        await issue_lease(rig.world, rig.door, work.agent, READER)
        rig.clock.advance(40)
        await decide_call(rig.world, rig.door, work.agent, CallAsk("crm/get_order", {"id": "4711"}))
        rig.clock.advance(seconds)
        return work

    return prepare


async def looks_for_idle(rig: Rig, work: Work) -> str:
    """Ask once whether what is due has ended; say how many did."""
    return f"ended {len(await end_due_tasks(rig.world, rig.lane))}"


async def due(rig: Rig) -> Work:
    work = await leased(rig)
    await end_task(rig.world, rig.door, ALICE, work.task.id, "done")
    rig.clock.advance(60)
    return work


async def takes_back(rig: Rig, given: Any) -> None:
    for lease in await due_leases(rig.world, rig.lane):
        await revoke_lease(rig.world, rig.lane, lease)
    assert rig.names_at_targets() == set()


def taken_back(**answers: Any) -> Does:
    """Return the step that takes back at targets whose probe answers so."""

    class Odd:
        def __init__(self, provider: Any) -> None:
            self._provider = provider

        def __getattr__(self, name: str) -> Any:
            return getattr(self._provider, name)

        async def probe(self, lease: Lease) -> str | None:
            if isinstance(answers["probe"], Exception):
                raise answers["probe"]
            answer: str | None = answers["probe"]
            return answer

    async def act(rig: Rig, given: Any) -> None:
        world = replace(rig.world, providers={name: Odd(one) for name, one in rig.world.providers.items()})
        for lease in await due_leases(world, rig.lane):
            await revoke_lease(world, rig.lane, lease)

    return act


async def takes_back_without_probes(rig: Rig, given: Any) -> None:
    class Plain:
        def __init__(self, provider: Any) -> None:
            self.create, self.cut, self.clean, self.names = (
                getattr(provider, name) for name in ("create", "cut", "clean", "names")
            )

    world = replace(rig.world, providers={name: Plain(one) for name, one in rig.world.providers.items()})
    for lease in await due_leases(world, rig.lane):
        await revoke_lease(world, rig.lane, lease)


async def takes_back_nowhere(rig: Rig, given: Any) -> None:
    for lease in await due_leases(rig.world, rig.lane):
        await revoke_lease(replace(rig.world, providers={}), rig.lane, lease)


async def takes_back_beside_another(rig: Rig, given: Any) -> None:
    """Two lanes are at one lease; the second finds it changed."""
    (lease,) = await due_leases(rig.world, rig.lane)
    cut = await cut_lease(rig.world, rig.lane, lease)
    assert (await cut_lease(rig.world, rig.lane, lease)) == cut == await cut_lease(rig.world, rig.lane, cut)
    await clean_lease(rig.world, rig.lane, cut)
    assert (await clean_lease(rig.world, rig.lane, cut)).state == "revoked"


async def pending(rig: Rig) -> Work:
    """A lease that nobody was given: whoever asked for it died."""

    async def dies(lease: Lease) -> None:
        raise SystemError("the process died")

    work = await begun(rig)
    shop = Meanwhile(rig.world.providers["shopdb"], dies)
    try:
        world = replace(rig.world, providers={**rig.world.providers, "shopdb": shop})
        await issue_lease(world, rig.door, work.agent, READER)
    except SystemError:
        rig.clock.advance(60)
    return work


async def marks_due(rig: Rig, given: Any) -> None:
    assert await mark_due(rig.world, rig.lane)


async def expired(rig: Rig) -> Work:
    work = await leased(rig)
    rig.clock.advance(3600)
    return work


async def late(rig: Rig) -> Work:
    work = await due(rig)
    rig.clock.advance(600)
    return work


async def marks_overdue(rig: Rig, given: Any) -> None:
    assert await mark_overdue(rig.world, rig.lane) and await mark_overdue(rig.world, rig.lane)


async def orphaned(rig: Rig) -> None:
    """Names at the target: one that no lease explains, one whose lease is over, one of another target, and others'."""
    work = await due(rig)
    (lease,) = rig.leases()
    await takes_back(rig, work)
    for name in (lease.name, f"tb_{rig.world.instance}_{'a' * 20}", f"tb_{rig.world.instance}_x", "postgres"):
        rig.targets["shopdb"].logins[name] = None


async def sweeps(rig: Rig, given: Any) -> None:
    logins = rig.targets["shopdb"].logins
    try:
        assert len(await sweep_target(rig.world, rig.lane, "shopdb")) == 2
        assert await sweep_target(rig.world, rig.lane, "shopdb") == []
    finally:  # where it was kept from adopting them: these were made by the test
        for name in rig.names_at_targets() - rig.names_with_a_lease():
            del logins[name]


# --- opening: what is refused ------------------------------------------------------------------------


def opens_in(**ask: Any) -> Does:
    async def act(rig: Rig, work: Work) -> None:
        await open_task(rig.world, rig.door, work.agent, replace(LOOK_UP, **ask))

    return act


def opens_at(ask: TaskAsk, who: Claim = ALICE) -> Does:
    async def act(rig: Rig, given: Any) -> None:
        await open_task(rig.world, rig.door, who, ask)

    return act


async def keyed(rig: Rig) -> Work:
    return await begun(rig, KEYED)


async def keyed_and_past(rig: Rig) -> Work:
    """A task that was opened with a key, is over its time, and was ended by nobody yet."""
    work = await keyed(rig)
    rig.clock.advance(3600)
    return work


async def opens_again(rig: Rig, work: Work) -> None:
    """Repeat a request with its key: its task comes with a new handle, and the first lets nobody in."""
    task, handle = await open_task(rig.world, rig.door, ALICE, KEYED)
    async with rig.store.transaction(rig.door) as tx:
        (found,) = await tx.find(Task, handle=claim_of(handle).handle)
        assert work.task.id == task.id == found.id
        assert await tx.find(Task, handle=work.agent.handle) == []


async def opens_after(rig: Rig, work: Work) -> None:
    await open_task(rig.world, rig.door, ALICE, replace(REFUND, cause=work.task.id, life=timedelta(minutes=5)))


def crowded(**most: int) -> Does:
    """Return the step that opens one child more than there may be."""

    async def act(rig: Rig, work: Work) -> None:
        changed: Any = most
        with patch.multiple(opening, **changed):
            for _ in range(2):
                await begun(rig, replace(LOOK_UP, budget={"calls": 1, "leases": 0}), work.agent)

    return act


async def delegates_too_deep(rig: Rig, work: Work) -> None:
    for calls in (5, 4, 3, 2):
        work = await begun(rig, replace(LOOK_UP, budget={"calls": calls, "leases": 0}), work.agent)


ONCE = [detail("crm/refund", {"order_id": '= "4711"', "amount": f"<= {most}"}, budget={"calls": 1}) for most in (5, 6)]
READ_ONE = [detail("crm/get_order", {"id": '= "4711"'})]
READERS = [detail("shopdb/reader")]


BAD_OPENS: tuple[TaskAsk, ...] = (
    replace(REFUND, life=timedelta(0)),
    replace(REFUND, life=timedelta(days=1)),
    replace(REFUND, actor="agent//x"),
    replace(REFUND, actor="agent/gone"),
    replace(REFUND, parent="t-other"),
    TaskAsk(profile="none"),
    TaskAsk(intent=" "),
    replace(REFUND, subject="human/carla"),
    replace(KEYED, actor="agent//x"),
)


async def gone(rig: Rig) -> None:
    ask = RegistrationAsk("agent/gone", "human/alice", "unix", {"script": "/srv/gone.py"}, environment="production")
    await register_identity(rig.world, rig.door, rig.door, ask)
    await suspend_identity(rig.world, rig.door, rig.door, "agent/gone")


async def opens_none(rig: Rig, nothing: None) -> str:
    return await first_accepted(partial(open_task, rig.world, rig.door, ALICE, ask) for ask in BAD_OPENS)


async def repinned(rig: Rig) -> Work:
    """A task that was opened before a tool was pinned anew."""
    work = await begun(rig)
    current = rig.world.policies.current
    tools = {name: replace(tool, pin="sha256:another") for name, tool in current.tools.items()}
    rig.world = replace(rig.world, policies=InForce(replace(current, tools=tools)))
    return work


async def only_logs_in(rig: Rig) -> Work:
    return await begun(rig, TaskAsk(details=READERS, actor="agent/support"))


async def reads_out(rig: Rig, agent: Claim) -> None:
    """Read each grant as a person reads it, of the task and of its profile."""
    async with rig.store.transaction(rig.door) as tx:
        (task,) = await tx.find(Task, handle=agent.handle)
    assert all(said(grant, task.intent.values) for grant in task.grants)
    assert all(said(grant, {}) for grant in task.grants)


# --- looking up, and administration ------------------------------------------------------------------


def sees(who: Callable[[Rig, Work], Claim | Identity]) -> Does:
    async def act(rig: Rig, work: Work) -> None:
        await look_up_task(rig.world, rig.door, who(rig, work), work.task.id)

    return act


async def sees_its_child(rig: Rig, work: Work) -> None:
    async with rig.store.transaction(rig.door) as tx:
        (child,) = await tx.find(Task, parent=work.task.id)
    await look_up_task(rig.world, rig.door, work.agent, child.id)


def lists(who: Callable[[Rig, Work], Claim | Identity], found: int = 1) -> Does:
    async def act(rig: Rig, work: Work) -> None:
        assert len(await look_up_tasks(rig.world, rig.door, who(rig, work), "open", "", 10)) == found

    return act


async def lists_page_by_page(rig: Rig, work: Work) -> None:
    """Of two tasks the second is found behind the first."""
    await begun(rig)
    with patch("taskbound.steps.look_up.PAGE", 1):
        assert len(await look_up_tasks(rig.world, rig.door, ALICE, None, "", 10)) == 2


async def lists_for_an_ended_one(rig: Rig, who: Claim) -> None:
    await look_up_tasks(rig.world, rig.door, who, None, "", 10)


def reads_all(who: Claim) -> Does:
    async def act(rig: Rig, work: Work) -> None:
        assert await look_up(rig.world, rig.door, who, Task, ("open", "ended"), "", 10) == [work.task]

    return act


async def sealed(rig: Rig) -> Work:
    work = await begun(rig)
    await seal_log(rig.world, rig.lane)
    return work


async def reads_log(rig: Rig, work: Work) -> None:
    assert await read_log(rig.world, rig.door, ALICE, -1, 100)
    assert await read_log(rig.world, rig.door, ALICE, 10**6, 100) == []


async def reads_lives(rig: Rig, work: Work) -> None:
    assert any(one.has_worked for one in await look_up_lives(rig.world, rig.door, ALICE, "", 100))


def acts_in(id: Callable[[Work], str]) -> Does:
    async def act(rig: Rig, work: Work) -> None:
        await require_acting(rig.world, rig.door, work.agent, "task/heartbeat", id(work))

    return act


async def counts(rig: Rig, work: Work) -> None:
    assert await count_tasks(rig.world, rig.door) == 1


NEW = RegistrationAsk("agent/new", "human/alice", "unix", {"script": "/srv/new.py", "uid": 1}, "p", "dev", ("g",))


class Unwritten(Exception):
    """It is registered, as was permitted before the fault, and said to be in no file."""


def registers(ask: RegistrationAsk, who: Claim | Identity = ALICE, write: bool = True) -> Does:
    async def act(rig: Rig, given: Any) -> None:
        if not write:
            await register_identity(rig.world, rig.door, who, ask)
            return
        _, why_not = await register_and_write(rig.world, rig.door, who, ask)
        if why_not and not ask.name.startswith("human/"):  # a human stands in no file
            raise Unwritten(why_not)

    return act


async def written(rig: Rig) -> None:
    """The name stands in the file already: as it is wanted."""
    await register_and_write(rig.world, rig.door, ALICE, replace(NEW, name="agent/first", groups=(), purpose=""))
    kept = rig.world.policies
    ask = replace(NEW, name="agent/second")
    await register_and_write(rig.world, rig.door, ALICE, ask)
    async with rig.store.transaction(rig.door) as tx:  # it stands there, and is not known
        assert await tx.find(Registration, spiffe_id="spiffe://example.org/agent/second")
    kept.write({FILE: kept.file(FILE).replace(b"agent/second", NEW.name.encode())})


async def moves(rig: Rig, work: Work) -> None:
    await suspend_identity(rig.world, rig.door, ALICE, "agent/support")
    await suspend_identity(rig.world, rig.door, ALICE, "agent/support")
    await resume_identity(rig.world, rig.door, ALICE, "agent/support")
    await retire_identity(rig.world, rig.door, ALICE, "agent/support")


async def retires_a_human(rig: Rig, work: Work) -> None:
    """Everything ends that is for her, or that what she owns acts in."""
    _, ended = await retire_identity(rig.world, rig.door, ALICE, "human/alice")
    assert work.task.id in {task.id for task in ended}


async def suspends_another_s(rig: Rig, work: Work) -> None:
    await suspend_identity(rig.world, rig.door, CARLA, "agent/support")


def ownerless(why: Kind) -> Prepare:
    async def prepare(rig: Rig) -> Claim:
        async with rig.store.transaction(rig.door) as tx:
            (alice,) = await tx.find(Registration, spiffe_id="spiffe://example.org/human/alice")
            await tx.record(why, advance(alice, why))
        return TESTER

    return prepare


async def suspended_dora(rig: Rig) -> Claim:
    """A human who does not own the machine, suspended: an administrator can resume her."""
    dora = RegistrationAsk("human/dora", "human/dora", "unix", {"path": "/srv/dora"})
    await register_identity(rig.world, rig.door, rig.door, dora)
    await suspend_identity(rig.world, rig.door, rig.door, dora.name)
    return Claim("main", facts=Facts("unix", {"path": "/srv/dora"}))


async def nobody_s(rig: Rig) -> Work:
    """Policy lets alice administer; she is not the operator."""
    work = await strangers(rig)
    rig.world = replace(rig.world, operator=None)
    return work


async def suspends_carla(rig: Rig, work: Work) -> None:
    await suspend_identity(rig.world, rig.door, ALICE, "human/carla")


async def full(rig: Rig) -> None:
    """The policy directory cannot be written."""
    rig.world = replace(rig.world, policies=Full(rig.world.policies.current))


class Full(Kept):
    def write(self, files: Mapping[str, bytes]) -> None:
        raise Unavailable("the directory cannot be written")


async def registers_unwritten(rig: Rig, given: None) -> str:
    """Register a name; it is no secret that it is in no file."""
    _, why_not = await register_and_write(rig.world, rig.door, ALICE, NEW)
    return "permitted" if why_not else "written"


async def completes_a_denied_one(rig: Rig, who: Claim) -> None:
    caller, call, _ = await decide_call(rig.world, rig.door, who, CallAsk("crm/get_order", {"id": "1"}))
    await complete_call(rig.world, rig.door, caller, call, Outcome(False, 1))


async def denied_twice(rig: Rig, who: Claim) -> str:
    for _ in range(3):
        _, _, decision = await decide_call(rig.world, rig.door, who, CallAsk("crm/get_order", {"id": "1"}))
        if decision.permitted:
            return "permitted"
    return "denied"


async def live(rig: Rig) -> None:
    await register_identity(rig.world, rig.door, rig.door, NODE)


async def joins_another_s(rig: Rig, nothing: None) -> None:
    await issue_join_token(rig.world, rig.door, CARLA, NODE.name, timedelta(minutes=1))


SCENARIOS: dict[str, tuple[Prepare, Act]] = {
    # tokens
    "permitted:token_call": (with_token(), GET),
    "permitted:token_admit": (with_token(), does(admits)),
    "permitted:token_issue": (begun, does(tokens())),
    "permitted:token_replace": (begun, does(replaces_an_old_one)),
    "fresh:token": (begun, is_fresh),
    "denied:tokens": (refused_tokens, admits_none),
    "Unauthenticated:token_twice": (with_token(), does(admits_twice)),
    "Denied:token_of_another": (strangers, does(token_of_another)),
    "Denied:token_of_the_gone": (actor_gone, does(tokens())),
    # leases
    "Denied:lease_of_the_suspended": (begun, does(leases_while(its_holder_is_suspended))),
    "Denied:lease_where_one_is_stuck": (stuck, does(leases)),
    "TargetUnavailable:lease_too_late": (begun, does(leases_while(too_late))),
    "TaskEnded:lease_meanwhile": (begun, does(leases_while(it_ends))),
    "TaskSuspended:lease_meanwhile": (begun, does(leases_while(it_is_suspended))),
    "TaskSuspended:lease_for_a_moment": (begun, does(leases_while(it_is_suspended_for_a_moment))),
    # ends
    "permitted:end": (family(leased), does(ends(lambda rig, work: work.agent))),
    "permitted:end_by_the_owner": (leased, does(ends(lambda rig, work: ALICE))),
    "permitted:end_by_us": (leased, does(ends(lambda rig, work: rig.lane))),
    "permitted:end_a_child": (family(begun), does(ends_a_child)),
    "permitted:end_due": (over_time, does(ends_what_is_due)),
    "Denied:end_another_s": (strangers, does(ends(lambda rig, work: CARLA))),
    "ExceptionGroup:end_due": (over_time, does(with_a_broken_row(end_due_tasks, Task))),
    "permitted:end_beside_another": (over_time, does(ends_beside_another)),
    "ended 1:busy": (idle(30, child=True), looks_for_idle),
    "ended 1:idle": (idle(90, child=False), looks_for_idle),
    # taking back
    "permitted:revoke": (due, does(takes_back)),
    "permitted:revoke_beside_another": (due, does(takes_back_beside_another)),
    "permitted:revoke_no_answer": (due, does(taken_back(probe=TargetUnavailable("it is silent")))),
    "permitted:revoke_held_no_longer": (due, does(taken_back(probe=None))),
    "permitted:revoke_without_probes": (due, does(takes_back_without_probes)),
    "StillLetIn:revoke": (due, does(taken_back(probe=StillLetIn("it let it in")))),
    "TargetUnavailable:revoke": (due, does(takes_back_nowhere)),
    "permitted:mark_pending": (pending, does(marks_due)),
    "permitted:mark_expired": (expired, does(marks_due)),
    "permitted:mark_overdue": (late, does(marks_overdue)),
    "ExceptionGroup:mark": (expired, does(with_a_broken_row(mark_due, Lease))),
    "permitted:sweep": (orphaned, does(sweeps)),
    # opening
    "permitted:open_because": (begun, does(opens_after)),
    "permitted:open_key": (claims(ALICE), does(opens_at(KEYED))),
    "permitted:open_key_again": (keyed, does(opens_again)),
    "AlreadyOpened:open_key_for_another": (keyed, does(opens_at(replace(KEYED, set={"order_id": "4712", "max": "5"})))),
    "AlreadyOpened:open_key_to_hold": (keyed, does(opens_at(replace(KEYED, holder=Process(1, 7))))),
    "InvalidRequest:open_key_without_a_digest": (keyed, does(opens_at(replace(KEYED, set={"order_id": "\ud800"})))),
    "AlreadyOpened:open_key_too_late": (keyed_and_past, does(opens_at(KEYED))),
    "denied:opens": (gone, opens_none),
    "Denied:too_deep": (begun, does(delegates_too_deep)),
    "Denied:too_many_children": (begun, does(crowded(MOST_CHILDREN=1))),
    "Denied:too_many_below": (begun, does(crowded(MOST_BELOW=1))),
    "Denied:other_parent": (begun, does(opens_in(parent="t-other"))),
    "BudgetSpent:child": (
        begun,
        does(opens_in(profile=None, set={}, details=READERS, budget={"calls": 0, "leases": 3})),
    ),
    "InvalidRequest:child_budget": (begun, does(opens_in(budget={"calls": 1}, profile=None, set={}, intent="x"))),
    "Denied:own_limits": (
        begun,
        does(opens_in(profile=None, set={}, details=ONCE, budget={"calls": 2, "leases": 0})),
    ),
    "TaskEnded:open": (over, opens(LOOK_UP)),
    "BudgetSpent:open_race": (exhausted, with_answers(1, opens(LOOK_UP), left=one_left)),
    "permitted:open_for_oneself": (claims(ALICE), does(opens_at(replace(REFUND, actor="human/alice")))),
    "Denied:open_what_was_pinned_anew": (
        repinned,
        does(opens_in(profile=None, set={}, details=READ_ONE, budget={"calls": 1, "leases": 0})),
    ),
    "InvalidRequest:open_what_reads": (only_logs_in, does(opens_in(profile=None, set={}, intent="look"))),
    "denied:pinned_anew": (repinned, lambda rig, work: GET(rig, work.agent)),
    "permitted:read_out": (at_work, does(reads_out)),
    # looking up, administration
    "permitted:look_up": (strangers, does(sees(lambda rig, work: ALICE))),
    "permitted:look_up_inside": (family(begun), does(sees_its_child)),
    "permitted:look_up_by_us": (begun, does(sees(lambda rig, work: rig.lane))),
    "permitted:look_up_by_the_operator": (administered(begun), does(sees(lambda rig, work: ALICE))),
    "permitted:list": (begun, does(lists(lambda rig, work: ALICE))),
    "permitted:list_page_by_page": (begun, does(lists_page_by_page)),
    "permitted:list_inside": (begun, does(lists(lambda rig, work: work.agent))),
    "permitted:list_none": (strangers, does(lists(lambda rig, work: CARLA, found=0))),
    "permitted:list_by_the_operator": (administered(begun), does(lists(lambda rig, work: ALICE))),
    "TaskEnded:list": (over, does(lists_for_an_ended_one)),
    "permitted:look_up_all": (administered(begun), does(reads_all(ALICE))),
    "Denied:look_up_all": (administered(strangers), does(reads_all(CARLA))),
    "permitted:look_up_lives": (administered(sealed), does(reads_lives)),
    "permitted:read_log": (administered(sealed), does(reads_log)),
    "permitted:act_in_its_own": (begun, does(acts_in(lambda work: work.task.id))),
    "Denied:act_in_another": (begun, does(acts_in(lambda work: "t-other"))),
    "permitted:count": (begun, does(counts)),
    "Denied:look_up": (strangers, does(sees(lambda rig, work: CARLA))),
    "permitted:register": (administered(claims(ALICE)), does(registers(NEW))),
    "permitted:register_written": (administered(written), does(registers(NEW))),
    "permitted:register_human": (
        administered(claims(ALICE)),
        does(registers(RegistrationAsk("human/dora", "human/dora", "unix", {"uid": 7}))),
    ),
    "NotFound:register_for_nobody": (
        administered(claims(ALICE)),
        does(registers(RegistrationAsk("agent/new", "human/alicia", "unix", {"uid": 7}))),
    ),
    "InvalidRequest:register_operator": (
        administered(claims(ALICE)),
        does(registers(RegistrationAsk("human/dora", "human/dora", "operator", {"uid": 7}))),
    ),
    "permitted:move": (administered(leased), does(moves)),
    "permitted:retire_human": (administered(leased), does(retires_a_human)),
    "Denied:suspend_another_s": (administered(strangers), does(suspends_another_s)),
    "Conflict:register": (administered(claims(ALICE)), does(registers(replace(NEW, name="agent/tester"), write=False))),
    "permitted:register_unwritten": (administered(full), registers_unwritten),
    "Conflict:register_other_facts": (administered(written), does(registers(replace(NEW, when={"script": "x"})))),
    "InvalidRequest:register_by_nothing": (administered(claims(ALICE)), does(registers(replace(NEW, attestor="oidc")))),
    "InvalidRequest:register_another_type": (
        administered(claims(ALICE)),
        does(registers(replace(NEW, when={"uid": "7"}))),
    ),
    "InvalidRequest:register_no_fact": (administered(claims(ALICE)), does(registers(replace(NEW, when={"ip": "x"})))),
    "InvalidRequest:register_ownerless": (
        administered(ownerless(Kind.IDENTITY_SUSPENDED)),
        lambda rig, who: does(registers(NEW, who=rig.door))(rig, who),
    ),
    "Unauthenticated:ownerless": (ownerless(Kind.IDENTITY_SUSPENDED), GET),
    "Unauthenticated:owner_retired": (ownerless(Kind.IDENTITY_RETIRED), GET),
    "Unauthenticated:human_suspended": (suspended_dora, GET),
    "Denied:suspend_what_one_owns_not": (administered(nobody_s), does(suspends_carla)),
    "Conflict:complete": (opened, does(completes_a_denied_one)),
    "denied:twice": (opened, denied_twice),
}
