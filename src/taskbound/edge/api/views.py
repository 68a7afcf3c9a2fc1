"""What is answered: the nouns as they stand on the wire (INTERFACES 6)."""

from datetime import datetime
from typing import Any

from taskbound.core.finding import Finding
from taskbound.core.grant import Grant, render, said
from taskbound.core.identity import Registration, name_of
from taskbound.core.lease import Lease
from taskbound.core.task import Task
from taskbound.ports import World
from taskbound.steps.look_up import Life
from taskbound.steps.offboard_identity import Offboarding


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def grant_view(grant: Grant, task: Task) -> dict[str, Any]:
    return {
        "id": grant.id,
        "said": said(grant, task.intent.values),
        "text": render(grant, task.depth),
        "actions": [grant.action],
        "resources": [grant.resource],
        "ask": grant.ask,
        "budget": None if grant.calls is None else {"calls": grant.calls},
    }


def heartbeat_view(task: Task) -> dict[str, Any] | None:
    held = task.heartbeat
    return None if held is None else {"every_s": held.every, "grace_s": held.grace, "on_lost": held.on_lost}


def task_view(task: Task) -> dict[str, Any]:
    return {
        "task": task.id,
        "state": task.state,
        "actor": name_of(task.actor),
        "subject": name_of(task.subject) if task.subject else None,
        "profile": task.intent.profile,
        "intent": task.intent.text,
        "opened": moment(task.opened),
        "deadline": moment(task.deadline),
        "parent": task.parent,
        "reason": task.reason,
        "heartbeat": heartbeat_view(task),
    }


def change_view(task: Task) -> dict[str, Any]:
    return {"task": task.id, "state": task.state, "deadline": moment(task.deadline), "reason": task.reason}


def identity_view(one: Registration) -> dict[str, Any]:
    return {
        "name": name_of(one.spiffe_id),
        "kind": one.kind,
        "owner": name_of(one.owner),
        "state": one.state,
        "attestor": one.attestor,
        "environment": one.environment,
        "groups": list(one.groups),
        "purpose": one.purpose,
    }


def life_view(life: Life) -> dict[str, Any]:
    return {
        **identity_view(life.of),
        "since": None if life.since is None else moment(life.since),
        "until": None if life.until is None else moment(life.until),
        "has_worked": life.has_worked,
    }


def lease_view(lease: Lease) -> dict[str, Any]:
    return {
        "lease": lease.id,
        "task": lease.task,
        "target": lease.target,
        "grant": lease.grant,
        "class": lease.recipe.revocation_class,
        "name": lease.name,
        "state": lease.state,
        "issued": None if lease.activated is None else moment(lease.activated),
        "expires": moment(lease.expires),
        "overdue": lease.overdue is not None,
    }


def finding_view(one: Finding) -> dict[str, Any]:
    return {
        "id": one.id,
        "seen_as": one.seen_as,
        "state": one.state,
        "case": one.case,
        "severity": one.severity,
        "says": one.says,
        "subjects": list(one.subjects),
        "places": [{"path": place.path, "line": place.line} for place in one.places],
        "issued": [{"mark": it.mark, "kind": it.kind, "issuer": it.issuer, "login": it.login} for it in one.issued],
        "owner": one.owner,
        "next": one.next,
        "raised": moment(one.raised),
        "kept": one.kept,
        "accepted_by": name_of(one.accepted_by) if one.accepted_by else None,
        "until": None if one.due is None else moment(one.due),
        "reason": one.reason,
    }


def offboarding_view(world: World, held: Offboarding) -> dict[str, Any]:
    return {
        "name": held.name,
        "state": held.registration.state if held.registration else None,
        "groups": list(held.registration.groups) if held.registration else [],
        "owned": [
            {"name": name_of(one.spiffe_id), "state": one.state, "groups": list(one.groups)} for one in held.owned
        ],
        "tasks": [one.id for one in held.tasks],
        "leases": [
            {"lease": one.id, "target": one.target, "name": one.name, "state": one.state, "probe": one.probe}
            for one in held.leases
        ],
        "accepted": [one.id for one in held.accepted],
        "logins": [
            {"issuer": one.issuer, "login": one.login, "before": one.before, "after": one.after, "why": one.why}
            for one in held.logins
        ],
        "servers": sorted(world.issuers),  # at which logins end, and to which a found one is shown first
    }
