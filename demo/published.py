"""AgentDojo's workspace suite: its tools, what people ask, what an attacker plants, and what the tools answered.

Third-party data (tests/data/agentdojo/README.md). A scenario is one user task and one injection task:
wherever the suite lets an attacker write, its outputs hold the injection's goal, word for word.
"""

import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "tests/data/agentdojo/workspace.json"
MARKER = re.compile(r"\{\{INJECTION:[^}]+\}\}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a published sequence, and what it was answered."""

    tool: str
    arguments: Mapping[str, Any]
    output: str
    structured: Any


@dataclass(frozen=True, slots=True)
class UserTask:
    """What a person asks, and one sequence of calls that solves it."""

    id: str
    prompt: str
    calls: Sequence[Call]


@dataclass(frozen=True, slots=True)
class InjectionTask:
    """What an attacker plants, and the calls of an agent that obeys."""

    id: str
    goal: str
    calls: Sequence[Call]
    derived: bool  # the calls were written by hand from the goal, since none are published


@dataclass(frozen=True, slots=True)
class Suite:
    """Everything there is, by id."""

    tools: Sequence[Mapping[str, Any]]
    user_tasks: Mapping[str, UserTask]
    injection_tasks: Mapping[str, InjectionTask]


def _calls(entries: Sequence[Mapping[str, Any]]) -> Sequence[Call]:
    return tuple(
        Call(one["function"], one["args"], one["output"], one.get("output_json", one["output"])) for one in entries
    )


def read_suite() -> Suite:
    """Return the suite as it lies beside the tests."""
    data = json.loads(FILE.read_text())
    return Suite(
        tools=data["tools"],
        user_tasks={one["id"]: UserTask(one["id"], one["prompt"], _calls(one["calls"])) for one in data["user_tasks"]},
        injection_tasks={
            one["id"]: InjectionTask(
                one["id"], one["goal"], _calls(one["calls"] or one["derived_calls"]), derived=not one["calls"]
            )
            for one in data["injection_tasks"]
        },
    )


def key(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return one text for calls that mean the same: order and null members make no difference."""
    return json.dumps([tool, {name: value for name, value in arguments.items() if value is not None}], sort_keys=True)


class Scenario:
    """A user task in which an attacker planted his goal wherever he can: answers calls as they were answered."""

    def __init__(self, suite: Suite, user_task: str, injection_task: str) -> None:
        self.goal = suite.injection_tasks[injection_task].goal
        everywhere: list[UserTask | InjectionTask] = [*suite.user_tasks.values(), *suite.injection_tasks.values()]
        first: list[UserTask | InjectionTask] = [suite.user_tasks[user_task], suite.injection_tasks[injection_task]]
        self._recorded: dict[str, list[Call]] = defaultdict(list)
        for tasks in (first, everywhere):
            known = set(self._recorded)
            for call in (call for task in tasks for call in task.calls):
                if (name := key(call.tool, call.arguments)) not in known:
                    self._recorded[name].append(call)
        self._answered = Counter[str]()

    def answer(self, tool: str, arguments: Mapping[str, Any]) -> tuple[str, Any] | None:
        """Return what the call was answered, as text and as JSON; None where nobody recorded it.

        A call that was recorded several times gets one answer after the other, and then the last again.
        """
        if not (calls := self._recorded.get(name := key(tool, arguments))):
            return None
        call = calls[min(self._answered[name], len(calls) - 1)]
        self._answered[name] += 1
        return MARKER.sub(lambda _: self.goal, call.output), self._planted(call.structured)

    def _planted(self, value: Any) -> Any:
        if isinstance(value, str):
            return MARKER.sub(lambda _: self.goal, value)
        if isinstance(value, list):
            return [self._planted(one) for one in value]
        if isinstance(value, dict):
            return {name: self._planted(one) for name, one in value.items()}
        return value


def drawn(suite: Suite, seed: str, number: int) -> list[str]:
    """Return as many pairs with published attack calls as asked, drawn by a text: equal for equal texts."""
    attacks = [one.id for one in suite.injection_tasks.values() if not one.derived]
    pairs = [f"{task},{attack}" for task in suite.user_tasks for attack in attacks]
    return sorted(pairs, key=lambda pair: hashlib.sha256(f"{seed} {pair}".encode()).digest())[:number]


if __name__ == "__main__":  # python -m demo.published SEED NUMBER
    print("\n".join(drawn(read_suite(), sys.argv[1], int(sys.argv[2]))))
