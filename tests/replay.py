"""State rebuilt from events alone, to be compared with the tables. Shares no code with any store.

Reads what an event says (kind, value, spent, shared) and applies the rules of INTERFACES 9 and 12
as the simplest program that is right.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from taskbound.core.event import Event


@dataclass
class State:
    things: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    budgets: dict[tuple[str, str, str], int] = field(default_factory=dict)
    read: dict[tuple[str, str], set[str]] = field(default_factory=dict)


def replay(events: Iterable[Event]) -> State:
    """Return the state that these events, in order, lead to."""
    state = State()
    for event in events:
        thing = event.value
        if thing is not None:
            state.things[event.org, event.noun, event.id] = thing
        for quantity, amount in event.spent.items():
            state.budgets[event.org, thing.task, quantity] -= amount
        for quantity, amount in event.shared.items():
            state.budgets[event.org, event.id, quantity] = amount
            if thing.parent is not None:
                state.budgets[event.org, thing.parent, quantity] -= amount
        if event.kind == "task.ended" and thing.parent is not None:
            for (org, owner, quantity), amount in list(state.budgets.items()):
                if (org, owner) == (event.org, event.id) and amount:
                    state.budgets[org, owner, quantity] = 0
                    parent = (org, thing.parent, quantity)
                    state.budgets[parent] = state.budgets.get(parent, 0) + amount
        if event.kind == "call.permitted" and thing.labels:
            state.read.setdefault((event.org, thing.root), set()).update(thing.labels)
    return state
