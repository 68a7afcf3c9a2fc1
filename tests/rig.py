"""The test rig: a world in memory whose every port crossing is counted by name and can crash.

A crossing is a call of a port that leaves the product's code: opening and committing a
transaction, and each method of a provider. The wrapper sits around the ports, so product code
holds no test switch (D28). `check()` states what must hold after every step of every story.
"""

from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from taskbound import app
from taskbound.core.catalogue import Target
from taskbound.core.identity import Claim, Facts, Identity, door
from taskbound.core.lease import Lease
from taskbound.core.policy import PolicySet
from taskbound.core.policy_dir import PolicyDir
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.plugins.providers.memory import MemoryTarget
from taskbound.ports import World
from taskbound.steps.end_task import end_due_tasks
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.revoke_lease import due_leases, mark_due, revoke_lease, sweep_target
from tests.contracts.store import Clock
from tests.replay import replay

POLICY = Path(__file__).parent / "shop/policy"
ALICE = Claim("main", facts=Facts("operator", {"uid": 1000}))


PEOPLE = (  # name and environment; all are alice's
    ("human/alice", ""),
    ("agent/support", "production"),
    ("agent/helper", "production"),
    ("agent/tester", "dev"),
)


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may catch it and go on."""


@dataclass
class Crossings:
    """The crossings of a run, by name; the one to crash at, and on which side of its effect."""

    names: list[str] = field(default_factory=list)
    crash_at: int | None = None
    after: bool = False

    def before(self, name: str) -> None:
        self.names.append(name)
        if self.crash_at == len(self.names) and not self.after:
            raise Crash(name)

    def done(self) -> None:
        if self.crash_at == len(self.names) and self.after:
            raise Crash(self.names[-1])


class CountedStore:
    """A store whose commits are crossings. What is read before a commit has no effect, so one crossing each."""

    def __init__(self, store, crossings: Crossings) -> None:
        self.store, self._crossings = store, crossings

    @asynccontextmanager
    async def transaction(self, opener: Identity):
        committed = False
        async with self.store.transaction(opener) as tx:
            yield tx
            self._crossings.before("store.commit")
            committed = True
        if committed:
            self._crossings.done()


class CountedProvider:
    """A provider whose every method is a crossing."""

    def __init__(self, provider, crossings: Crossings) -> None:
        self._provider, self._crossings = provider, crossings

    async def _cross(self, method, *args):
        self._crossings.before(f"provider.{method.__name__}")
        answer = await method(*args)
        self._crossings.done()
        return answer

    async def create(self, lease):
        return await self._cross(self._provider.create, lease)

    async def cut(self, lease):
        return await self._cross(self._provider.cut, lease)

    async def clean(self, lease):
        return await self._cross(self._provider.clean, lease)

    async def probe(self, lease):
        return await self._cross(self._provider.probe, lease)

    async def names(self):
        return await self._cross(self._provider.names)


@cache
def _shop() -> tuple[Mapping[str, Target], PolicyDir]:
    from tests.shop.targets import TARGETS

    return dict(TARGETS), PolicyFiles(POLICY, TARGETS).read()


def shop() -> PolicyDir:
    """Return the shop's policy directory as if it had just been read: nothing is worked out.

    No test changes its files; where one changed its targets, it is read.
    """
    from tests.shop.targets import TARGETS

    targets, kept = _shop()
    if targets != TARGETS:
        return PolicyFiles(POLICY, TARGETS).read()
    return replace(
        kept,
        organisation=PolicySet(kept.organisation.policies),
        profiles={name: replace(profile) for name, profile in kept.profiles.items()},
        tools={name: replace(tool) for name, tool in kept.tools.items()},
    )


class Rig:
    """A world in memory, its clock, its targets, and who is in it: alice, her agents, our doors and lanes."""

    def __init__(
        self,
        policy: Path = POLICY,
        crash_at: int | None = None,
        after: bool = False,
        store: Callable[[Clock], Any] | None = None,  # what to make from the rig's clock; None: the memory store
    ) -> None:
        from tests.shop.targets import TARGETS

        self.clock = Clock()
        self.targets = {name: MemoryTarget() for name in {target.name for target in TARGETS.values()}}
        self.crossings = Crossings(crash_at=crash_at, after=after)
        known = shop() if policy == POLICY else None
        bare = app.in_memory(policy, TARGETS, self.targets, clock=self.clock, known=known)
        self.store: Any = store(self.clock) if store else bare.store
        self.world: World = replace(
            bare,
            store=CountedStore(self.store, self.crossings),
            providers={name: CountedProvider(p, self.crossings) for name, p in bare.providers.items()},
        )
        self.door = door(bare.trust_domain, "door/gateway", "main")
        self.lane = door(bare.trust_domain, "lane/revoke", "main")

    async def people(self) -> None:
        """Register alice and her agents. Not part of any story's crossings."""
        world = replace(self.world, store=self.store)
        for name, environment in PEOPLE:
            is_alice = name == "human/alice"
            when: dict[str, str | int] = {"uid": 1000} if is_alice else {"script": f"/srv/{name}.py"}
            attestor = "operator" if is_alice else "unix"
            ask = RegistrationAsk(name, "human/alice", attestor, when, environment=environment)
            await register_identity(world, self.door, self.door, ask)

    async def lanes(self) -> list[Lease]:
        """One pass of everything that runs by itself. Returns the orphans that the sweep adopted."""
        await end_due_tasks(self.world, self.lane)
        await mark_due(self.world, self.lane)
        orphans = [lease for name in self.targets for lease in await sweep_target(self.world, self.lane, name)]
        for lease in await due_leases(self.world, self.lane):
            await revoke_lease(self.world, self.lane, lease)
        return orphans

    async def restart_later(self) -> list[Lease]:
        """The process is started again after every deadline of the story, and its lanes run. Returns orphans found."""
        self.crossings.crash_at = None
        self.clock.advance(3600)
        orphans = await self.lanes()
        self.clock.advance(60)
        return orphans + await self.lanes()

    def names_at_targets(self) -> set[str]:
        ours = f"tb_{self.world.instance}_"
        return {name for target in self.targets.values() for name in target.logins if name.startswith(ours)}

    def leases(self) -> list[Lease]:
        return [thing for (_, noun, _), thing in self.store.things.items() if noun == "lease"]

    def names_with_a_lease(self) -> set[str]:
        return {lease.name for lease in self.leases()}

    def check(self) -> None:
        """State equals replay; every name has a lease; no lease is held but under an open task (I1–I4)."""
        state = replay(self.store.events)
        assert state.things == self.store.things
        assert state.budgets == self.store.budgets
        assert state.read == {key: set(labels) for key, labels in self.store.read.items()}
        assert self.names_at_targets() <= self.names_with_a_lease()
        for lease in self.leases():
            task = self.store.things.get((lease.org, "task", lease.task)) if lease.task else None
            if lease.state == "active":
                assert task is not None and task.state == "open", f"{lease.id} is held under a task that is not open"
            assert lease.state != "revoked" or lease.name not in self.names_at_targets()
            facts = [event for event in self.store.events if event.id == lease.id]
            assert facts[-1].value == lease
