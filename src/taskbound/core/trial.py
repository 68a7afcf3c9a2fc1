"""Trial: one expectation of a policy directory, decided by the very evaluation that decides calls.

The case is made as `gather` makes it from a store, of a root task that opened a moment ago: nothing
is spent, and nobody changed a definition since. The verdict is `decide`'s; which policies spoke is
read from the engine's answer to the same request.
"""

from collections.abc import Iterable
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
    about = test.target or policies.about(test.action, test.resource)
    within = test.action in SPENDS  # what a task grants is asked for inside one
    caller = replace(_identity(test), task=TASK if within else None)
    chain: tuple[Task, ...] = ()
    left: dict[str, int] = {}
    if within:
        profile = policies.profiles.get(test.profile) if test.profile else None
        pin = about.pin if isinstance(about, Tool) else ""
        grants = profile.grants if profile else (Grant("g0", test.action, test.resource, pin=pin),)
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
    registration = Registration(
        id="i" + 20 * "a",
        org=ORG,
        spiffe_id=str(make(TRUST_DOMAIN, actor.name)),
        kind=actor.name.partition("/")[0],
        owner=str(make(TRUST_DOMAIN, actor.owner)),
        purpose="",
        environment="" if actor.name.startswith("human/") else actor.environment,
        groups=actor.groups,
        attestor=actor.assurance,
        when=facts,
        state="registered",
    )
    return identify(Claim(ORG, facts=Facts(actor.assurance, facts)), registration, None, ())


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
