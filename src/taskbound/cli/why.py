"""`taskbound why`: from one call, lease or task back to person, intent, agents, decision and policy, as one page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from taskbound.cli import answer

TIMES = ("opened", "deadline", "ended", "expires", "cut", "clean")
ERASED = "the body of the event was erased: values and the reason are gone, what is said here is the index row"


def main(words: Sequence[str]) -> int:
    """Run `taskbound why ID`."""
    about = (
        "Why a call (d…) was permitted or denied, a lease (l…) or a task (t…) given. taskbound call list gives the ids "
        "of calls; in the log a call is c… with the same characters, which is taken too."
    )
    parser = answer.Parser("taskbound why", description=about)
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    asked = parser.parse_args(words)
    told = answer.client().request("GET", f"/v1/why/{quote(asked.id, safe='')}")
    if asked.json:
        answer.show_json(told)
    else:
        answer.show(*_lines(told))
    return answer.DONE


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Return an explanation as people read it."""
    what, decision, event = told["what"], told["decision"], told["event"]
    verdict = "permitted" if decision["permitted"] else f"DENIED ({decision['code']})"
    yield f"{told['id']}  {what['action']} {what['resource']}  {verdict}"
    if what.get("arguments"):
        yield _row("asked with", ", ".join(f"{name} = {_value(value)}" for name, value in what["arguments"].items()))
    if not decision["permitted"]:
        yield _row("because", decision["reason"] or f"{decision['code']}; its reason was erased")
        yield from (_row("", f"and {one['reason']}") for one in decision["objections"][1:])
        if told["hint"]:
            yield _row("hint", told["hint"])
        if told["command"]:
            yield _row("to do", told["command"])
    yield _row("for", told["person"] or "nobody that is known")
    for level, one in enumerate(told["chain"]):
        yield _row("task" if level == 0 else "within it", f"{one['task']} ({one['state']}), {one['actor']} acts")
        if one["intent"] is not None:
            yield _row("  intent", _intent(one["intent"]))
        for grant in one["grants"]:
            yield _row("  by grant" if grant["used"] else "  granted", grant["said"])
            if grant["used"]:  # what was decided on, word for word
                yield _row("", " ".join(grant["text"].split()))
    if not told["chain"]:
        yield _row("task", "none")
    if decision["permits"]:
        yield _row("policies", ", ".join(decision["permits"]))
    version = told["policy"]["version"]
    in_force = "in force" if told["policy"]["in_force"] else "no longer in force"
    yield _row("policy", f"version {version}, {in_force}" if version else "version unknown")
    yield from _states(what)
    if event is not None:
        yield _row("recorded", f"{event['at']} by {event['by']}, {_place(event)}")
    if told.get("repeated"):
        yield _row("repeated", f"{told['repeated']} equal calls within the second were denied with it")
    if told["erased"]:
        yield _row("erased", ERASED)


def _states(what: Mapping[str, Any]) -> Iterator[str]:
    """Return what became of a lease or a task."""
    times = [f"{name} {what[name]}" for name in TIMES if what.get(name)]
    if times:
        name = f"{what['name']} " if "name" in what else ""
        yield _row("state", f"{name}{what['state']}: {', '.join(times)}")


def _intent(intent: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} = {_value(value)}" for name, value in intent["values"].items())
    parts = [f"profile {intent['profile']}" if intent["profile"] else "", f"({values})" if values else ""]
    parts.append(f'"{intent["text"]}"' if intent["text"] else "")
    return " ".join(part for part in parts if part) or "none"


def _value(value: Any) -> str:
    """Return a value as the log has it: of free text that is its length."""
    if isinstance(value, dict) and "__extn" in value:
        return str(value["__extn"]["arg"])
    return f"a text of {value['len']} bytes" if isinstance(value, dict) and "len" in value else str(value)


def _place(event: Mapping[str, Any]) -> str:
    if event["index"] is None:
        return "not sealed yet"
    if event["sealed"]:
        return f"event {event['index']}, sealed under the checkpoint of {event['checkpoint']} events"
    return f"event {event['index']}, not under a checkpoint yet"


def _row(label: str, text: str) -> str:
    return f"  {label:11} {text}"
