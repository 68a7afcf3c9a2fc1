"""Row 1 of DESIGN 9: from a Case to a Decision, in process.

The case's chain of 2 tasks, its tool and its slice are in memory, arguments as parsed; 1,000
organisation policies of which 3 are in scope; 10,000 live tasks with values of their own, called
in turn, so that nothing of one call helps the next but what depends on identity and tool alone.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import perf_counter_ns

from bench.figures import Figure, at
from taskbound.core.call import Call, Case, decide
from taskbound.core.catalogue import Tool, pin_of, read_tool
from taskbound.core.cedar import parse_policies
from taskbound.core.grant import Condition, Grant
from taskbound.core.identity import Identity
from taskbound.core.intent import Intent
from taskbound.core.policy import PolicySet
from taskbound.core.task import Task

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALLS = 20_000


def policies(count: int) -> PolicySet:
    """Return so many policies; three of them are in the scope of the call."""
    lines = [
        '@id("start") permit(principal, action == Action::"tools/call", resource);',
        '@id("hours") forbid(principal is Agent, action == Action::"tools/call", resource in Upstream::"crm")'
        " when { context.hour < 0 };",
        '@id("own") forbid(principal, action == Action::"tools/call", resource == Tool::"crm/refund")'
        ' when { principal.environment == "test" };',
    ]
    lines += [
        f'@id("p{n}") forbid(principal, action == Action::"tools/call", resource == Tool::"other/tool{n}")'
        f" when {{ context.depth > {n} }};"
        for n in range(count - len(lines))
    ]
    return PolicySet(parse_policies("\n".join(lines)))


def tool(amount: str) -> Tool:
    definition = {
        "name": "refund",
        "description": "refund an order",
        "inputSchema": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}, "amount": {"type": amount}, "reason": {"type": "string"}},
            "required": ["order_id", "amount"],
        },
    }
    entry = {
        "pin": pin_of(definition),
        "effect": "spend",
        "arguments": {"order_id": "object_id", "amount": "amount", "reason": "free_text"},
        "result": {"id": "attested"},
    }
    return read_tool("crm", "refund", entry, definition)


def grant(about: Tool) -> Grant:
    return Grant(
        id="g0",
        action="tools/call",
        resource="crm/refund",
        conditions=(
            Condition("amount", about.arguments["amount"].type, True, "<=", "max", None),
            Condition("order_id", "String", True, "=", "order_id", None),
            Condition("reason", "{len: Long, digest: String}", False, "any", None, None),
        ),
        unnamed=(),
        calls=None,
        ask=False,
        root=0,
        pin=about.pin,
    )


def cases(decimals: bool, organisation: PolicySet, live_tasks: int) -> list[Case]:
    """Return one case per pair of live tasks: a root and its child, each with values of its own."""
    about = tool("number" if decimals else "integer")
    granted = grant(about)
    agent = Identity(
        "main", "spiffe://example.org/agent/support", "agent", "spiffe://example.org/human/alice", "production",
        ("support",), "handle",
    )  # fmt: skip
    made = []
    for n in range(live_tasks // 2):
        values = {"order_id": str(n), "max": Decimal("50.25") if decimals else 50}
        root = Task(
            id=f"t{n:020}",
            org="main",
            actor=agent.spiffe_id,
            subject=None,
            intent=Intent("refund-order", None, values),
            grants=(granted,),
            opened=NOW,
            deadline=NOW + timedelta(minutes=10),
            due=NOW,
            handle="",
            root=f"t{n:020}",
            state="open",
        )
        child = replace(root, id=f"u{n:020}", parent=root.id, depth=1)
        call = Call(f"c{n:020}", "main", child.id, root.id, "tools/call", "crm/refund", NOW)
        arguments = {"order_id": str(n), "amount": 12.5 if decimals else 12, "reason": "the parcel never arrived"}
        made.append(Case(call, agent, (root, child), about, organisation, "v", NOW, arguments, left={"calls": 9}))
    return made


def timed(run: Callable[[Case], object], cases_: list[Case], calls: int = CALLS) -> list[float]:
    """Return how many microseconds each of so many runs took, sorted; a tenth more before them is not counted."""
    took, warm_up = [], calls // 10
    gc.collect()
    gc.freeze()
    for n in range(calls + warm_up):
        case = cases_[n % len(cases_)]
        start = perf_counter_ns()
        run(case)
        took.append((perf_counter_ns() - start) / 1000)
    gc.unfreeze()
    return sorted(took[warm_up:])


def measure(live_tasks: int = 10_000, calls: int = CALLS) -> list[Figure]:
    """Return the figures of row 1."""
    figures = []
    organisation = policies(1_000)
    for name, decimals in (("no decimals", False), ("one decimal argument, one bound per level", True)):
        made = cases(decimals, organisation, live_tasks)
        took = timed(decide, made, calls)
        if not all(decide(case).permitted for case in made[:1_000]):
            raise RuntimeError("a figure of denials is none of permits")
        p50, p99 = at(took, 0.5), at(took, 0.99)
        reach = ("", None) if decimals else ("≤ 100 / ≤ 300 µs", p50 <= 100 and p99 <= 300)
        figures.append(Figure(f"decide in process, {name}", f"p50 {p50:.0f}, p99 {p99:.0f} µs", *reach))
    return figures
