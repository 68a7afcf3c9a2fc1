"""Trial: one expectation of a policy directory, decided by the very evaluation that decides calls.

The case is made as `gather` makes it from a store, of a root task that opened a moment ago: nothing
is spent, and nobody changed a definition since. The verdict is `decide`'s; which policies spoke is
read from the engine's answer to the same request. What a step asks beside the engine is not asked
here: whether a child's wish is narrow, and whose a name is that somebody administers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from taskbound.core.call import SPENDS, Call, Case, decide, project
from taskbound.core.catalogue import Tool
from taskbound.core.cedar import Entity, Uid
from taskbound.core.errors import InvalidRequest
from taskbound.core.expectation import Expectation
from taskbound.core.grant import Grant
from taskbound.core.identity import Claim, Facts, Identity, Registration, identify
from taskbound.core.intent import DEFAULT_BUDGET, Intent
from taskbound.core.policy import authorize
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.task import Task
from taskbound.formats.spiffe import make

ORG, TRUST_DOMAIN = "main", "example.org"
TASK = "t" + 20 * "a"
DAY = datetime(2027, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test. It passed where nothing is said in `wrong`."""

    test: Expectation
    verdict: str  # permit, deny, ask
    code: str  # of the refusal; "" when permitted
    reason: str  # of the first objection
    policies: tuple[str, ...]  # the @ids that spoke, sorted
    wrong: str  # what was expected and is not so

    @property
    def passed(self) -> bool:
        return not self.wrong


def run_tests(policies: PolicyDir, tests: Iterable[Expectation]) -> tuple[Outcome, ...]:
    """Return what becomes of each test under these policies."""
    return tuple(_outcome(policies, test) for test in tests)


def _outcome(policies: PolicyDir, test: Expectation) -> Outcome:
    case = case_of(policies, test)
    decision = decide(case)
    first = decision.objections[0] if decision.objections else None
    verdict = "permit" if decision.permitted else "ask" if decision.code == "approval_required" else "deny"
    spoke = _spoke(case)
    wrong = ""
    if verdict != test.verdict:
        wrong = f"expected {test.verdict}, got {verdict}"
    elif test.code and decision.code != test.code:
        wrong = f"expected the code {test.code}, got {decision.code}"
    elif test.policy and test.policy not in spoke:
        wrong = f"expected policy {test.policy} to speak, got {', '.join(spoke) or 'none'}"
    return Outcome(test, verdict, decision.code, first.reason if first else "", spoke, wrong)


def _spoke(case: Case) -> tuple[str, ...]:
    """Return the names of the policies that forbid, or else of those that permit."""
    try:
        answer = authorize(case.policies, project(case))
    except InvalidRequest:  # the arguments are none that anybody is asked about
        return ()
    return tuple(sorted({*answer.forbids, *answer.failed_forbids})) or answer.permits


def case_of(policies: PolicyDir, test: Expectation) -> Case:
    """Return the case that a test describes."""
    now = DAY.replace(hour=test.hour)
    about = test.target or _named(policies, test) or policies.about(test.action, test.resource)
    within = test.action in (*SPENDS, "task/delegate")  # what a task grants, and of what, is asked for inside one
    caller = replace(_identity(test), task=TASK if within else None)
    chain: tuple[Task, ...] = ()
    left: dict[str, int] = {}
    if within:
        profile = policies.profiles.get(test.profile) if test.profile else None
        pin = about.pin if isinstance(about, Tool) else ""
        wished = (Grant("g0", test.action, test.resource, pin=pin),) if test.action in SPENDS else ()
        grants = profile.grants if profile else wished
        chain = (_task(caller, test, grants, now),)
        left = dict(profile.budget if profile else DEFAULT_BUDGET)
        left |= {f"g{grant.root}#calls": grant.calls for grant in grants if grant.calls is not None}
    owner = Entity(Uid("Human", test.actor.owner))
    return Case(
        call=Call("c" + 20 * "a", ORG, caller.task, caller.task, test.action, test.resource, now),
        caller=caller,
        chain=chain,
        about=about,
        policies=policies.organisation,
        version=policies.version,
        now=now,
        arguments=test.arguments,
        labels=test.labels,
        left=left,
        people=(owner,) if caller.kind != "human" else (),
    )


def _identity(test: Expectation) -> Identity:
    """Return the actor as if it had been proven with the assurance that the test names."""
    actor, facts = test.actor, {"test": test.name}
    registration = _registration(actor.name, actor.owner, actor.environment, actor.groups, actor.assurance, facts)
    return identify(Claim(ORG, facts=Facts(actor.assurance, facts)), registration, None, ())


def _named(policies: PolicyDir, test: Expectation) -> Registration | None:
    """Return the name that is administered, as registrations.toml has it, else as one of the actor's in "dev"."""
    if not test.action.startswith("identity/"):
        return None
    name = test.resource
    for known in policies.registrations:
        if known.name == name:
            return _registration(name, known.owner, known.environment, known.groups, known.attestor, known.when)
    return _registration(name, name if name.startswith("human/") else test.actor.owner, "dev", (), "unix", {})


def _registration(
    name: str, owner: str, environment: str, groups: tuple[str, ...], attestor: str, when: Mapping[str, str | int]
) -> Registration:
    return Registration(
        id="i" + 20 * "a",
        org=ORG,
        spiffe_id=str(make(TRUST_DOMAIN, name)),
        kind=name.partition("/")[0],
        owner=str(make(TRUST_DOMAIN, owner)),
        purpose="",
        environment="" if name.startswith("human/") else environment,
        groups=groups,
        attestor=attestor,
        when=when,
        state="registered",
    )


def _task(caller: Identity, test: Expectation, grants: tuple[Grant, ...], now: datetime) -> Task:
    deadline = now + timedelta(minutes=10)
    return Task(
        id=TASK,
        org=ORG,
        actor=caller.spiffe_id,
        subject=caller.owner,
        intent=Intent(test.profile, None, test.values),
        grants=grants,
        opened=now,
        deadline=deadline,
        due=deadline,
        handle="",
        root=TASK,
        state="open",
    )
