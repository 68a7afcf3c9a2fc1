"""Call: one request to act, with the decision on it; and how that decision is made.

A call is permitted iff every task on the delegation chain grants it, the organisation's policy
permits it (a forbid wins), and the checks pass. It is one Cedar evaluation, read by level
(INTERFACES 7). All checks run; any Deny wins; the Asks together are one question. Refusal is a
value: absence, doubt and a check that breaks are each a Deny (S4, D31). There is no cache (D17).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

from taskbound.core.catalogue import Target, Tool
from taskbound.core.cedar import Entity, Uid
from taskbound.core.errors import BudgetSpent, Denied, InvalidRequest, TaskEnded, TaskSuspended
from taskbound.core.event import Kind
from taskbound.core.grant import Grant, cedar_value, render
from taskbound.core.identity import Identity, Registration, name_of
from taskbound.core.intent import Profile
from taskbound.core.policy import Answer, PolicySet, Request, authorize
from taskbound.core.schema import RESOURCE_TYPES
from taskbound.core.task import Task
from taskbound.core.thing import Lifecycle

# What each action spends of the task's budget. These two are granted by tasks; all others are
# decided by the organisation's policy alone (INTERFACES 7).
SPENDS = {"tools/call": "calls", "lease/issue": "leases"}
# The heartbeat of a task is no action of a policy's: whose it is decides alone.
TASK_ACTIONS = frozenset(
    {"task/open", "task/delegate", "task/extend", "task/heartbeat", "task/end", "lease/renew", *SPENDS}
)

FAMILIES: Mapping[str, type[Denied]] = {family.code: family for family in (TaskEnded, TaskSuspended, BudgetSpent)}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to act. Written once, with its decision, and never rewritten."""

    LIFECYCLE: ClassVar[Lifecycle] = {
        "":          {Kind.CALL_PERMITTED: "permitted", Kind.CALL_DENIED: "denied"},
        "permitted": {},
        "denied":    {},
    }  # fmt: skip
    INDEXED: ClassVar[tuple[str, ...]] = ("task", "state")

    id: str
    org: str
    task: str | None
    root: str | None  # the root of the task's tree: what a tree has read, all of it has read (D30)
    action: str
    resource: str  # "crm/refund", "shopdb/reader", the name of a profile, or the id of a task
    at: datetime
    code: str = ""  # of the first objection; "" when permitted
    policy: str = ""  # version of the policy it was decided with
    grants: tuple[str, ...] = ()  # the grant used at each level, root first
    labels: tuple[str, ...] = ()  # what reading its result adds to the tree's labels
    state: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """An objection that nobody can lift."""

    code: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """An objection that a person's approval lifts."""

    code: str
    reason: str
    hint: str = ""


Objection = Deny | Ask

# What to do about an objection that says nothing of it itself, by its code. Who asks may be an agent: no commands.
HINTS: Mapping[str, str] = {
    "approval_required": "use a task whose grants ask nobody",
    "check_failed": "nothing is permitted by what broke; the operator sees it in the server's log",
    "forbidden": "the policy that is named says so for everybody: only who keeps organisation/ can change it",
    "invalid_argument": "send the arguments that the tool's definition describes",
    "no_task": "open a task that grants it",
    "not_live": "somebody resumes it first (taskbound identity resume)",
    "not_permitted": "do it outside of every task",
    "not_yours": "leave it to whose it is",
    "outside_grants": "ask for no more than the task above it holds",
    "target_overdue": "wait until what is overdue at that target was taken back",
    "too_deep": "do it in the task that there is",
    "too_many_tasks": "end one of them, or wait until one ends",
    "tool_changed": "open a new task",
    "tool_not_pinned": "whoever keeps the policy reviews the change and pins it again",
    "unknown_agent": "name one that is registered (taskbound identity list)",
    "unknown_lease": "ask for one that the configuration has, as TARGET/GRANT",
    "unknown_profile": "name a profile that there is",
    "unknown_tool": "tools/list tells which there are",
}


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a decision may look at, gathered once, inside one transaction."""

    call: Call
    caller: Identity
    chain: tuple[Task, ...]  # root first, the caller's task last; empty without a task
    about: Tool | Target | Profile | Registration | None
    policies: PolicySet
    version: str
    now: datetime
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()
    left: Mapping[str, int] = field(default_factory=dict)  # of the caller's task
    people: tuple[Entity, ...] = ()  # owner and subject, where a policy reads them
    offered_pin: str | None = None  # of the definition that the upstream offers now; None where nobody looked
    offered: tuple[tuple[Grant, ...], ...] = field(init=False)  # per task of the chain, its grants of this very thing

    def __post_init__(self) -> None:
        action, resource = self.call.action, self.call.resource
        offered = (tuple(g for g in t.grants if g.resource == resource and g.action == action) for t in self.chain)
        object.__setattr__(self, "offered", tuple(offered))


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit, deny, or ask a person; with everything that led to it."""

    objections: tuple[Objection, ...]  # Denies, or Asks alone; empty only when permitted
    context: Mapping[str, Any]  # the projected request, which is recorded
    permits: tuple[str, ...] = ()  # the organisation's policies that permitted
    grants: tuple[Grant, ...] = ()  # the grant used at each level
    spent: Mapping[str, int] = field(default_factory=dict)
    permitted: bool = False  # said by `decide` alone, at its end: whatever is left out denies (D31)

    @property
    def code(self) -> str:
        """The code on the wire: that of the first Deny, else `approval_required`; "" when permitted."""
        if self.permitted:
            return ""
        return self.objections[0].code if isinstance(self.objections[0], Deny) else "approval_required"

    @property
    def hint(self) -> str:
        """What to do about the first objection."""
        first = self.objections[0]
        return first.hint or FAMILIES.get(self.code, Denied).hint or HINTS.get(self.code, "")

    def require_permit(self) -> None:
        """Raises Denied with the first objection's code, reason and hint, unless permitted."""
        if not self.permitted:
            raise self.refusal()

    def refusal(self) -> Denied:
        """Return the error that says the first objection."""
        first = self.objections[0]
        return FAMILIES.get(self.code, Denied)(first.reason, code=self.code, hint=self.hint)

    def refused(self, refusal: Denied) -> "Decision":
        """Return the decision with one more objection, raised while its effect was prepared."""
        objection = Deny(refusal.code, str(refusal), refusal.hint)
        return replace(self, objections=(objection, *self.objections), spent={}, permitted=False)

    def hinted(self, hint: str) -> "Decision":
        """Return the refusal with another hint for its first objection."""
        first, *others = self.objections
        return replace(self, objections=(replace(first, hint=hint), *others))

    def record_of(self) -> dict[str, object]:
        """Return what stands in the event's body beside the call itself."""
        return {
            "projected": dict(self.context),
            "permits": self.permits,
            "objections": [[o.code, o.reason] for o in self.objections],
        }


def decided(case: Case, decision: Decision) -> Call:
    """Return the call as it is after the decision, with what a reviewer looks for first."""
    tool = case.about
    return replace(
        case.call,
        code=decision.code,
        policy=case.version,
        grants=tuple(grant.id for grant in decision.grants),
        labels=tuple(sorted(tool.labels)) if decision.permitted and isinstance(tool, Tool) else (),
        state="permitted" if decision.permitted else "denied",
    )


def entity_of(identity: Identity) -> Entity:
    """Return the Cedar entity of who asks (INTERFACES 7): a human has no owner and no environment."""
    return _entity(identity.kind, identity.name, name_of(identity.owner), identity.environment, identity.groups)


@lru_cache(maxsize=4_096)  # an entity is a rendering of its values, no decision
def _entity(kind: str, name: str, owner: str, environment: str, groups: tuple[str, ...]) -> Entity:
    attrs = () if kind == "human" else (("owner", Uid("Human", owner)), ("environment", environment))
    return Entity(Uid(kind.capitalize(), name), attrs, tuple(Uid("Group", group) for group in groups))


def project(case: Case) -> Request:
    """Return the question for the engine: the only thing it sees, and what is recorded. Raises InvalidRequest."""
    call, about = case.call, case.about
    others = case.people
    if isinstance(about, Tool):
        resource, effect, args = about.entity, about.effect, about.project(case.arguments)
    elif isinstance(about, Target):
        resource, effect, args = about.entity, "", {}
        others = (about.parent, *others)
    elif isinstance(about, Profile):
        resource, effect, args = about.entity, "", {}
    elif isinstance(about, Registration):
        owner = name_of(about.owner)
        resource = _entity(about.kind, name_of(about.spiffe_id), owner, about.environment, about.groups)
        effect, args = "", {}
    elif call.action in SPENDS:
        kind = "tool" if call.action == "tools/call" else "lease"
        raise InvalidRequest(f"there is no {kind} {call.resource[:64]!r}", code=f"unknown_{kind}")
    elif call.action.startswith("task/"):
        if call.resource != "none":
            raise InvalidRequest(f"there is no profile {call.resource[:64]!r}", code="unknown_profile")
        resource, effect, args = Entity(Uid("Profile", "none")), "", {}
    elif call.action.startswith("identity/"):
        resource, effect, args = Entity(Uid(call.resource.partition("/")[0].capitalize(), call.resource)), "", {}
    elif RESOURCE_TYPES.get(call.action) == "Tool":  # administration of a tool, which may be new: it has no effect yet
        upstream = Uid("Upstream", call.resource.partition("/")[0])
        resource, effect, args = Entity(Uid("Tool", call.resource), (("effect", ""),), (upstream,)), "", {}
    else:
        resource, effect, args = Entity(Uid("System", "taskbound")), "", {}
    context: dict[str, Any] = {
        "task": call.task or "",
        "depth": max(len(case.chain) - 1, 0),
        "assurance": case.caller.assurance,
        "labels": sorted(case.labels),
        "hour": case.now.hour,
        "effect": effect,
        "args": args,
        "origin": {},  # filled from core.flow, once it exists
    }
    if case.chain and (subject := case.chain[-1].subject):
        context["subject"] = {"__entity": {"type": "Human", "id": name_of(subject)}}
    levels: tuple[tuple[str, ...], ...] = ()
    if call.action in SPENDS:
        levels = tuple(tuple(render(grant, level) for grant in offered) for level, offered in enumerate(case.offered))
        context["grant"] = {
            str(level): {name: cedar_value(value) for name, value in task.intent.values.items()}
            for level, task in enumerate(case.chain)
        }
    return Request(entity_of(case.caller), Uid("Action", call.action), resource, context, levels, others)


def usable(case: Case, answer: Answer, level: int) -> Grant | None:
    """Return the grant that a level uses: of those satisfied the first with budget left, one that asks nobody first.

    What is left is a matter of the acting task: a child holds its own share of every budget (INTERFACES 12).
    """
    granted = [case.offered[level][position] for position in sorted(answer.granted[level])]
    if level == len(case.chain) - 1:
        granted = [g for g in granted if g.calls is None or case.left.get(f"g{g.root}#calls", 0) > 0]
    return min(granted, key=lambda grant: grant.ask, default=None)


def task_is_open(case: Case, answer: Answer) -> Objection | None:
    """A task that ended cannot act, nor can one below it (S2)."""
    for task in case.chain:
        if code := task.why_not_open(case.now):
            ended = f"ended at {(task.ended or task.deadline):%Y-%m-%dT%H:%M:%SZ}"
            return Deny(code, f"task {task.id} {'is suspended' if code == 'task_suspended' else ended}")
    return None


def tool_is_pinned(case: Case, answer: Answer) -> Objection | None:
    """A definition acts only as somebody pinned it (D29)."""
    if isinstance(case.about, Tool) and not case.about.pinned:
        return Deny(
            "tool_not_pinned",
            f"the definition of {case.call.resource} is not the one that was pinned",
            "review the change and pin it again",
        )
    if isinstance(case.about, Tool) and case.offered_pin not in (None, case.about.pin):
        upstream = case.about.upstream
        return Deny(
            "tool_not_pinned",
            f"{case.call.resource} is offered with another definition than the one that was pinned",
            f"review it, then: taskbound tools derive {upstream} --write (POST /v1/tools/{upstream}/pin, `write`)",
        )
    return None


def flow_is_safe(case: Case, answer: Answer) -> Objection | None:
    """What outsiders may have written and a secret were read: nothing is sent out without a person (D30).

    Labels alone, until core.flow knows where each value came from.
    """
    if isinstance(case.about, Tool) and case.about.effect == "send" and case.labels >= {"free_text", "secret"}:
        return Ask("flow_unsafe", f"{case.call.resource} sends out after a secret and text from outsiders were read")
    return None


def within_grants(case: Case, answer: Answer) -> Objection | None:
    """Every task on the delegation chain was granted this with these arguments (S8)."""
    resource = case.call.resource
    if (quantity := SPENDS.get(case.call.action)) is None or answer.forbidden:
        return None  # no grant is asked for; or a forbid hides the permits, and policy_permits says so
    if not case.chain:
        return Deny("no_task", f"{resource} is used only inside a task")
    ask: Ask | None = None
    for level, task in enumerate(case.chain):
        if isinstance(case.about, Tool) and any(grant.pin != case.about.pin for grant in case.offered[level]):
            # What the grant said of each argument, it said of another definition.
            return Deny("tool_changed", f"{resource} was pinned anew since task {task.id} opened")
        if not answer.permitted_by(level):
            return Deny(
                "outside_grants",
                f"task {task.id} was not granted {resource} with these arguments"
                if case.offered[level]
                else f"task {task.id} was not granted {resource}",
                "ask for it when opening the task, or delegate from one that has it",
            )
        grant = usable(case, answer, level)
        if grant is None or (task is case.chain[-1] and case.left.get(quantity, 0) < 1):
            return Deny("budget_spent", f"task {task.id} has used up its budget of {resource}")
        if grant.ask and ask is None:
            ask = Ask("grant_asks", f"task {task.id} may use {resource} only with a person's consent")
    return ask  # only after every level was read: nobody is asked for what another level refuses


def policy_permits(case: Case, answer: Answer) -> Objection | None:
    """The organisation's policy permits it: at least one permit, and no forbid, failed ones included."""
    what = f"{case.call.action} on {case.call.resource}"
    if case.caller.task and case.call.action not in TASK_ACTIONS:
        return Deny("not_permitted", f"{what} is administration: nobody does it inside a task")
    if answer.forbids:
        return Deny("forbidden", f"policy {', '.join(answer.forbids)} forbids {what}")
    if answer.forbidden:
        failed = ", ".join(answer.failed_forbids) or "?"
        return Deny("forbidden", f"policy {failed} could not be evaluated on {what}", "guard optional values with has")
    if not answer.organisation_permits:
        return Deny("not_permitted", f"no policy permits {what}", "add a permit to the organisation's policy")
    return None


Check = Callable[[Case, Answer], Objection | None]

CHECKS: tuple[Check, ...] = (
    task_is_open,
    tool_is_pinned,
    flow_is_safe,
    within_grants,   # every level of the chain granted it  } two readings of
    policy_permits,  # the organisation permits it          } the same Cedar answer
)  # fmt: skip


def asked(check: Check, case: Case, answer: Answer) -> Objection | None:
    """Return the check's objection; a check that breaks objects (S4)."""
    try:
        return check(case, answer)
    except Exception as error:
        return Deny("check_failed", f"check {check.__name__} failed: {type(error).__name__}")


def decide(case: Case) -> Decision:
    """Permit only if no check objects."""
    context: Mapping[str, Any] = {}
    try:
        request = project(case)
        context = request.context
        answer = authorize(case.policies, request)
    except InvalidRequest as error:
        code = "invalid_argument" if error.code == "invalid_request" else error.code
        return Decision((Deny(code, str(error), error.hint),), context)
    except Exception as error:
        return Decision((Deny("check_failed", f"the evaluation failed: {type(error).__name__}"),), context)
    objections = tuple(o for check in CHECKS if (o := asked(check, case, answer)) is not None)
    if objections:
        denials = tuple(o for o in objections if isinstance(o, Deny))
        return Decision(denials or objections, context, answer.permits)
    grants: tuple[Grant, ...] = ()
    spent: dict[str, int] = {}
    if quantity := SPENDS.get(case.call.action):
        used = [usable(case, answer, level) for level in range(len(case.chain))]
        grants = tuple(grant for grant in used if grant is not None)
        if not grants or len(grants) != len(case.chain):
            return Decision((Deny("check_failed", "a level without a grant was permitted"),), context)
        spent[quantity] = 1
        if grants[-1].calls is not None:
            spent[f"g{grants[-1].root}#calls"] = 1
    return Decision((), context, answer.permits, grants, spent, permitted=True)
