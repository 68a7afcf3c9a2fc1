"""Why: from one effect back to person, intent, agent chain, decision, policy version and its place in the log (N13).

All of it was recorded with the fact: the narrow row of a call stays, the body of its event may have
been erased, and then the explanation says so and gives what the row has. Inside a task one sees
what is at and below it: of what stands above, who acts, and nothing of its intent and grants. What
would unblock a denial is read from the policy in force now; the engine is not asked again.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from taskbound.core.call import TASK_ACTIONS, Call
from taskbound.core.errors import NotFound
from taskbound.core.event import Kind
from taskbound.core.grant import Grant, render, said, said_of
from taskbound.core.identity import Claim, Identity, Registration, name_of
from taskbound.core.intent import when_of
from taskbound.core.leaf import Fact
from taskbound.core.lease import Lease
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.projection import decimal_text
from taskbound.core.refusal import nearest, quoted
from taskbound.core.task import Task
from taskbound.core.unmet import takes, unmet
from taskbound.formats.note import parse_note
from taskbound.formats.tlog import parse_checkpoint
from taskbound.ports import Transaction, World
from taskbound.prove import chain_of, prove, unseen

Effect = Call | Lease | Task

NOUNS: Mapping[str, type[Effect]] = {"c": Call, "l": Lease, "t": Task}
IDS = "name a call (d…), a lease (l…) or a task (t…); what a profile grants: taskbound policy explain PROFILE"
LISTED = {"c": "taskbound call list", "l": "taskbound lease list", "t": "taskbound task list"}
_ID = re.compile(r"[clt][a-z2-7]{20}")
KINDS = {"tools/call": "tool", "lease/issue": "lease"}  # what grants are of, as profiles name it
READ = 32  # calls in one answer whose arguments are looked up; of others it is not told which one differed
LOAD = "taskbound policy load"
# The command of each administration, by the first part of its action: nothing in it is of who was denied, who may
# have chosen the resource for whoever types it.
ADMINISTRATION = {
    "identity": "taskbound identity list",
    "tool": "taskbound tools list",
    "policy": LOAD,
    "body": "taskbound audit erase",
    "finding": "taskbound risk list",
    "offboarding": "taskbound identity list",
}
DECIDED = frozenset((
    Kind.CALL_PERMITTED, Kind.CALL_DENIED, Kind.LEASE_REQUESTED, Kind.TASK_REQUESTED, Kind.TASK_OPENED,
))  # fmt: skip


async def explain(world: World, door: Identity, asker: Claim | Identity, id: str) -> Mapping[str, Any]:
    """Return why a call (`d…` or `c…`), a lease or a task came to be as it is, as JSON.

    Raises NotFound, Denied for what happened in somebody else's task.
    """
    named, id = id, f"c{id[1:]}" if id[:1] == "d" else id  # as a call is shown to people (INTERFACES 1)
    if not _ID.fullmatch(id):
        raise NotFound(f"{quoted(named)} is no id: that is a letter and 20 characters of a-z and 2-7", hint=IDS)
    facts = await world.log.about(door, id)
    sealed = await _sealed(world, door)
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        thing = await _named(tx, id)
        within = thing.id if isinstance(thing, Task) else thing.task
        chain = await chain_of(tx, within)
        refusal = await unseen(world, tx, caller, id, chain[-1] if chain else None)
        fact = next((one for one in facts if one.header.kind in DECIDED), None)
        person = await _person(tx, chain, fact)
    if refusal is not None:
        raise refusal
    body = json.loads(fact.body) if fact and fact.body else {}
    decided = body.get("detail", {}).get("decision", {})
    told = {
        "id": shown(id) if isinstance(thing, Call) else id,
        "what": _what(thing, decided),
        "person": person,
        "chain": _levels(thing, chain, caller),
        "decision": _decision(thing, decided),
        "policy": _policy(thing, body, world.policies.current),
        "event": _place(fact, sealed),
        "erased": fact is not None and fact.body is None,
        "repeated": _repeated(facts),
        "hint": "",
        "command": "",
    }
    if isinstance(thing, Call) and thing.state == "denied":
        told["hint"], told["command"] = _unblock(thing, chain, world.policies.current, caller, decided)
    return told


async def _named(tx: Transaction, id: str) -> Effect:
    """Return the thing with this id. Raises NotFound, of a call with the id that people know."""
    try:
        return await tx.get(NOUNS[id[0]], id)
    except NotFound as error:
        message = f"there is no call {shown(id)}" if id[0] == "c" else str(error)
        raise NotFound(message, hint=f"see which there are: {LISTED[id[0]]}") from None


async def list_calls(
    world: World, door: Identity, asker: Claim | Identity, task: str | None, state: str | None, limit: int
) -> list[Mapping[str, Any]]:
    """Return calls as JSON, the newest first: those in a task that the caller may see, or all, for who may read all.

    Inside a task, with no other named, they are its own. A denial comes with what would unblock it, as `explain`
    tells it. Raises NotFound, Denied.
    """
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = task or caller.task
        chain = await chain_of(tx, task)
        refusal = await unseen(world, tx, caller, task or "calls", chain[-1] if chain else None)
        found: list[Call] = []
        chains: dict[str | None, Sequence[Task]] = {task: chain, None: ()}
        if refusal is None:
            where: dict[str, Any] = {"task": task} if task else {}
            for one in (state,) if state else ("permitted", "denied"):  # by the two together the store has no index
                found += await tx.find(Call, state=one, limit=limit, newest=True, **where)
            found = sorted(found, key=lambda call: (call.at, call.id), reverse=True)[:limit]
            for call in found:
                if call.task not in chains:
                    chains[call.task] = await chain_of(tx, call.task)
    if refusal is not None:
        raise refusal
    newest = {(call.task, call.resource): call.id for call in reversed(found) if call.code == "outside_grants"}
    decided = {id: await _decided(world, door, id) for id in list(newest.values())[-READ:]}
    now = world.policies.current
    return [_listed(call, chains[call.task], now, caller, decided.get(call.id, {})) for call in found]


async def _decided(world: World, door: Identity, id: str) -> Mapping[str, Any]:
    """Return what was decided on a call; nothing where its body was erased."""
    facts = await world.log.about(door, id)
    body = next((one.body for one in facts if one.header.kind in DECIDED and one.body), None)
    found: Mapping[str, Any] = json.loads(body).get("detail", {}).get("decision", {}) if body else {}
    return found


def _listed(
    call: Call, chain: Sequence[Task], policies: PolicyDir, caller: Identity, decided: Mapping[str, Any]
) -> Mapping[str, Any]:
    hint, command = _unblock(call, chain, policies, caller, decided) if call.state == "denied" else ("", "")
    return {
        "call": shown(call.id),
        "task": call.task,
        "at": _moment(call.at),
        "action": call.action,
        "resource": call.resource,
        "state": call.state,
        "code": call.code,
        "hint": hint,
        "command": command,
    }


def shown(id: str) -> str:
    """Return the id of a call as people see it: d… for c…, with the same 20 characters (INTERFACES 1)."""
    return f"d{id[1:]}"


async def _sealed(world: World, door: Identity) -> int:
    """Return how many events the newest checkpoint covers."""
    note = await world.log.checkpoint(door)
    return parse_checkpoint(parse_note(note)[0]).size if note else 0


async def _person(tx: Transaction, chain: Sequence[Task], fact: Fact | None) -> str | None:
    """Return the human it was done for, or who answers for who did it."""
    if chain and chain[0].subject:
        return name_of(chain[0].subject)
    actor = chain[0].actor if chain else fact.header.by if fact else ""
    known = await tx.find(Registration, spiffe_id=actor)
    return name_of(known[0].owner) if known else None


def _what(thing: Effect, decided: Mapping[str, Any]) -> dict[str, Any]:
    match thing:
        case Call():
            arguments = decided.get("projected", {}).get("args")
            return {"kind": "call", "action": thing.action, "resource": thing.resource, "arguments": arguments}
        case Lease():
            times = {"expires": thing.expires, "cut": thing.cut, "clean": thing.cleaned}
            resource = f"{thing.target}/{thing.grant}" if thing.task else thing.target  # the second: an orphan
            return {
                "kind": "lease", "action": "lease/issue", "resource": resource, "name": thing.name,
                "state": thing.state, **{name: _moment(at) for name, at in times.items()},
            }  # fmt: skip
        case Task():
            times = {"opened": thing.opened, "deadline": thing.deadline, "ended": thing.ended}
            action = "task/delegate" if thing.parent else "task/open"
            return {
                "kind": "task", "action": action, "resource": thing.intent.profile or "none", "state": thing.state,
                "reason": thing.reason, **{name: _moment(at) for name, at in times.items()},
            }  # fmt: skip


def _levels(thing: Effect, chain: Sequence[Task], caller: Identity) -> list[dict[str, Any]]:
    """Return the tasks from the root, each with who acts, what for, and its grants that are about this."""
    below = caller.task is None
    levels: list[dict[str, Any]] = []
    for level, task in enumerate(chain):
        below = below or task.id == caller.task
        known = _known(thing, task, level) if below else {"intent": None, "grants": []}
        levels.append({"task": task.id, "actor": name_of(task.actor), "state": task.state, **known})
    return levels


def _known(thing: Effect, task: Task, level: int) -> dict[str, Any]:
    match thing:
        case Call():
            grants = [grant for grant in task.grants if _is_of(grant, thing.action, thing.resource)]
            used = [grant.id in thing.grants[level : level + 1] for grant in grants]
        case Lease():  # which one it used follows: a lease's grant has no conditions, and no two of a task are alike
            grants = [g for g in task.grants if _is_of(g, "lease/issue", f"{thing.target}/{thing.grant}")]
            used = [True for _ in grants]
        case Task():
            grants = list(task.grants) if task.id == thing.id else []
            used = [False for _ in grants]
    values = {name: _json(value) for name, value in sorted(task.intent.values.items())}
    return {
        "intent": {"profile": task.intent.profile, "values": values, "text": task.intent.text},
        "grants": [
            {
                "id": grant.id,
                "said": said(grant, task.intent.values),
                "text": render(grant, level),
                "used": was_used,
            }
            for grant, was_used in zip(grants, used, strict=True)
        ],
    }


def _decision(thing: Effect, decided: Mapping[str, Any]) -> dict[str, Any]:
    code = thing.code if isinstance(thing, Call) else ""
    objections = [{"code": code, "reason": reason} for code, reason in decided.get("objections", [])]
    return {
        "permitted": not (isinstance(thing, Call) and thing.state == "denied"),
        "code": code,
        "reason": objections[0]["reason"] if objections else "",
        "objections": objections,
        "permits": list(decided.get("permits", [])),  # the organisation's policies, by @id
    }


def _policy(thing: Effect, body: Mapping[str, Any], now: PolicyDir) -> dict[str, Any]:
    version = thing.policy if isinstance(thing, Call) else body.get("detail", {}).get("policy")
    return {"version": version, "in_force": version == now.version}


def _place(fact: Fact | None, sealed: int) -> dict[str, Any] | None:
    """Return where the fact stands in the log, and whether a checkpoint covers it. None: an orphan was never asked."""
    if fact is None:
        return None
    return {
        "kind": fact.header.kind,
        "at": _moment(fact.header.at),
        "by": name_of(fact.header.by),
        "index": fact.index,
        "sealed": fact.index is not None and fact.index < sealed,
        "checkpoint": sealed,
    }


def _repeated(facts: Iterable[Fact]) -> int:
    """Return how many equal denials were counted with this one (core.storm)."""
    denials = [json.loads(fact.body) for fact in facts if fact.header.kind == Kind.CALL_DENIED and fact.body]
    return sum(body["detail"]["count"] for body in denials if body["value"] is None)


# --- what would unblock it -------------------------------------------------------------------------


def _unblock(
    call: Call, chain: Sequence[Task], policies: PolicyDir, caller: Identity, decided: Mapping[str, Any]
) -> tuple[str, str]:
    """Return what a person can do about a denial, and the command for it; "" where there is nothing to do.

    Who is in a task is told no command, and no profile but its own: neither is an agent's to choose.
    """
    hint, command = _unblocking(call, chain, policies, decided, names=caller.task is None)
    return hint, command if caller.task is None else ""


def _unblocking(
    call: Call, chain: Sequence[Task], policies: PolicyDir, decided: Mapping[str, Any], *, names: bool
) -> tuple[str, str]:
    own = chain[-1].intent.profile if chain else None
    again = _again(chain)
    upstream, noun = call.resource.partition("/")[0], call.action.partition("/")[0]
    match call.code:
        case "outside_grants" if call.action not in KINDS:
            return "ask for no more than the task above it holds", "taskbound task list"
        case "outside_grants" if all(_granted(task.grants, call) for task in chain):
            if told := _differing(call, chain, policies, decided, names=names):
                return told
            bound = _bound(chain, call)  # nothing: no value that a task is opened with would help
            if own and own in policies.profiles and not (bound and policies.profiles[own].parameters):
                where = f"change its [[grant]] in profiles/{own}.toml"
                return f"the profile grants it with other values: {where}", LOAD
            of = f" of {', '.join(bound)}" if bound else ""
            return f"it was granted with other values{of}: open a task that is bound to these", _open(
                own, policies, again
            )
        case "outside_grants":
            granting = sorted(one.name for one in policies.profiles.values() if _granted(one.grants, call))
            if granting and not names:
                return "a task of another profile may do it: that is for who opens tasks", ""
            if granting:
                return f"profile {granting[0]} grants it: open a task with that one", _open(
                    granting[0], policies, again
                )
            entry = f'[[grant]] {KINDS[call.action]} = "{call.resource}"'
            tool = policies.tools.get(call.resource) if call.action == "tools/call" else None
            when = (
                f", below it {when_of(tool, {})}" if tool and any(a.required for a in tool.arguments.values()) else ""
            )
            return f"no profile grants it: add {entry} to profiles/{own or 'NAME'}.toml{when}", LOAD
        case "no_task" | "task_ended" | "tool_changed" | "budget_spent":
            return "open a new task", _open(own, policies, again)
        case "task_suspended":
            return "one that lost its holder goes on with the next heartbeat; or open a new one", _open(
                own, policies, again
            )
        case "tool_not_pinned":
            return "review how its definition changed, then pin it", f"taskbound tools derive {upstream} --write"
        case "forbidden":
            return "the policy that is named forbids it, whatever a task grants: change organisation/", LOAD
        case "not_permitted" if call.task and call.action not in TASK_ACTIONS:
            return "it is administration: do it outside of every task", ADMINISTRATION.get(noun, "taskbound call list")
        case "not_permitted":
            return "add a permit to organisation/, then load it", LOAD
        case "unknown_tool":
            return "see which tools there are", "taskbound tools list"
        case "unknown_lease":
            return "add it to taskbound.toml, under [target.grants], and start again", "taskbound up"
        case "unknown_profile":
            hint = "see which profiles there are, or write one"  # their names alone, never the one that was asked for
            near = nearest(call.resource, policies.profiles) if names else ""
            return "; ".join(filter(None, (near, hint))), "taskbound policy check"
        case "unknown_agent":
            return "register it first", "taskbound identity register agent/NAME --owner human/NAME"
        case "not_live" | "not_yours":
            return "see who it is, and whose", "taskbound identity list"
        case "too_deep" | "too_many_tasks":
            return "do it in a task that there is, or end one", "taskbound task list"
        case "invalid_argument":
            return "send the arguments that the tool's definition describes", "taskbound tools list"
        case "approval_required":
            return "approvals are not built: open a task with a profile that asks nobody", _open(None, policies, again)
        case "target_overdue":
            return "what is overdue at that target is taken back first", "taskbound lease list"
        case "check_failed":
            return "nothing is permitted by a check that broke: see the server's log", "taskbound doctor"
    return "", ""


def _differing(
    call: Call, chain: Sequence[Task], policies: PolicyDir, decided: Mapping[str, Any], *, names: bool
) -> tuple[str, str] | None:
    """Return what of a call is not as it was granted, and what would make it so; None where that cannot be told.

    It says what was granted, and nothing of what was asked: an agent chose that, for whoever reads this.
    """
    args = decided.get("projected", {}).get("args")
    for task in chain if args is not None else ():
        grants = [grant for grant in task.grants if _is_of(grant, call.action, call.resource)]
        if not (missed := unmet(grants, task.intent.values, args)):
            continue
        if task is not chain[-1] and not names:
            return None  # of what stands above it, whoever is in a task is told nothing
        told = f"it was granted {', '.join(said_of(one, task.intent.values) for one in missed)}"
        name, profile = task.intent.profile, policies.profiles.get(task.intent.profile or "")
        change = f"change its [[grant]] in profiles/{name}.toml"
        if profile is None:
            return f"{told}: ask for other values when it is opened", "taskbound task list"
        bound = [(one, profile.parameters.get(one.parameter or "")) for one in missed]
        if not all(parameter for _, parameter in bound):
            return f"{told}: {change}", LOAD
        for one, parameter in bound:
            if parameter and (limit := takes(parameter, one, args)):
                return f"{told}, and {one.parameter} of profile {name} is {limit}: change profiles/{name}.toml", LOAD
        others = ", ".join(sorted({str(one.parameter) for one in missed}))
        return f"{told}: open a task with another {others}", _open(name, policies, _again(chain))
    return None


def _again(chain: Sequence[Task]) -> str:
    """Return the command that the root was opened with: a program that a task ends with was started by `run`."""
    return "run" if chain and chain[0].holder is not None else "task open"


def _is_of(grant: Grant, action: str, resource: str) -> bool:
    return (grant.action, grant.resource) == (action, resource)


def _granted(grants: Iterable[Grant], call: Call) -> bool:
    return any(_is_of(grant, call.action, call.resource) for grant in grants)


def _bound(chain: Iterable[Task], call: Call) -> list[str]:
    """Return the parameters that the grants of this thing are bound by; none where the profile says their values."""
    grants = (grant for task in chain for grant in task.grants if _is_of(grant, call.action, call.resource))
    return sorted({one.parameter for grant in grants for one in grant.conditions if one.parameter is not None})


def _open(name: str | None, policies: PolicyDir, again: str) -> str:
    program = " -- PROGRAM" if again == "run" else ""
    if name is None or name not in policies.profiles:
        return f"taskbound {again} --intent TEXT{program}"
    values = " ".join(f"{parameter}=…" for parameter in sorted(policies.profiles[name].parameters))
    return f"taskbound {again} --profile {name}{f' --set {values}' if values else ''}{program}"


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return decimal_text(value) if isinstance(value, Decimal) else value


def _moment(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
