"""What a task was denied, as the person who started it reads it when it is over.

The program saw each refusal when it came and may have kept it to itself. Equal ones, of one thing
and for one reason, are one line, with an id for `taskbound why` and what would unblock them. What was
asked for is in the program's own words: what in them would steer the person's terminal is spelled out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from taskbound_sdk import Client, Refused, Unreachable, plain

PATIENCE = 2.0  # seconds: the program has ended, and nobody is kept waiting for what is only told
MOST = 500  # in one answer of the server
LINES = 5


def denials(address: str, task: str) -> Iterator[str]:
    """Yield what there is to tell; nothing where nothing was denied, or nobody answers any more."""
    try:
        path = f"/v1/calls?task={quote(task, safe='')}&state=denied&limit={MOST}"
        calls = Client(address, timeout=PATIENCE).request("GET", path)["calls"]
        yield from map(plain, _lines(task, calls))
    except (Refused, Unreachable, LookupError, TypeError):
        return


def _lines(task: str, calls: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for call in reversed(calls):  # as they came
        alike.setdefault((call["resource"], call["code"]), []).append(call)
    if calls:
        many = f"{len(calls)} calls were" if len(calls) > 1 else "1 call was"
        yield f"{many if len(calls) < MOST else f'{MOST} calls or more were'} denied:"
    for (resource, code), same in list(alike.items())[:LINES]:
        times = f", {len(same)} times" if len(same) > 1 else ""
        yield f"  {resource}: {code}{times}: taskbound why {same[-1]['call']}"
        if hint := same[-1]["hint"]:
            command = same[-1]["command"]
            yield f"    {hint}{f': {command}' if command else ''}"
    if len(alike) > LINES:
        yield f"  and {len(alike) - LINES} more: taskbound call list --denied --task {task}"
