"""`taskbound task`: open a task and be given its handle, list tasks, look at one, end one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from taskbound.cli import answer
from taskbound_sdk import Client

SHOWN = 100  # tasks in a table
VERBS = {
    "open": "open a task and print what it may do, and its handle",
    "list": "list tasks, the newest first",
    "show": "show one task and its grants",
    "end": "end a task and everything below it; also when it had ended",
}
TEXT_LIMIT = 1 << 20  # bytes of an intent's file; the server refuses far less


def main(words: Sequence[str]) -> int:
    """Run one `taskbound task …`."""
    parser, verbs = answer.with_verbs("task", "Work that has an intent, grants and an end.", VERBS, words)
    add_intent(verbs["open"])
    verbs["open"].add_argument(
        "--budget",
        metavar="k=N",
        type=answer.amount,
        nargs="+",
        action="extend",
        default=[],
        help="at most so many, such as calls=20; a task inside a task names each",
    )
    verbs["open"].add_argument("--cause", metavar="TASK", help="the earlier task that led to this one; no authority")
    verbs["open"].add_argument("--upstream", metavar="NAME", help="print the gateway's address of this upstream")
    verbs["list"].add_argument("--state", help="only those in this state: open, suspended, ended, closed")
    verbs["list"].add_argument("--all", action="store_true", help=f"all of them, not the newest {SHOWN}")
    for verb in ("show", "end"):
        verbs[verb].add_argument("task", metavar="ID")
    verbs["end"].add_argument("--reason", metavar="TEXT", default="asked", help="what the log says about it")
    asked = parser.parse_args(words)
    act = {"open": _open, "list": _list, "show": _show, "end": _end}[asked.verb]
    return act(answer.client(), asked)


def add_intent(parser: argparse.ArgumentParser) -> None:
    """Add what says what a task is for, who works in it and how long."""
    parser.add_argument("--profile", metavar="NAME", help="the task profile that grants")
    parser.add_argument(
        "--set", metavar="k=v", type=answer.pair, nargs="+", action="extend", default=[], help="its parameters"
    )
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--intent", metavar="TEXT", help="what the work is; without a profile it grants reading")
    text.add_argument("--intent-file", metavar="FILE", type=Path, help="a file that holds the intent")
    parser.add_argument("--agent", metavar="NAME", help="the agent that works in it")
    parser.add_argument("--life", metavar="TIME", type=answer.duration, help="until its deadline, such as 10m")


def intent_of(asked: argparse.Namespace) -> str | None:
    """Return the text of the intent. Raises Usage."""
    if asked.intent_file is None:
        text: str | None = asked.intent
        return text
    with asked.intent_file.open("rb") as file:
        data = file.read(TEXT_LIMIT + 1)
    try:
        if len(data) > TEXT_LIMIT:
            raise answer.Usage(f"{asked.intent_file} has more than {TEXT_LIMIT} bytes")
        read: str = data.decode()
        return read
    except UnicodeDecodeError:
        raise answer.Usage(f"{asked.intent_file} is not UTF-8") from None


def _open(client: Client, asked: argparse.Namespace) -> int:
    body: dict[str, Any] = {"profile": asked.profile, "set": dict(asked.set) or None, "intent": intent_of(asked)}
    if asked.agent:
        body["actor"] = (
            asked.agent if asked.agent.startswith(("agent/", "service/", "human/")) else f"agent/{asked.agent}"
        )
    if asked.life:
        body["life_s"] = int(asked.life.total_seconds())
    body |= {"upstream": asked.upstream, "cause": asked.cause, "budget": dict(asked.budget) or None}
    opened = client.open_task(**{name: value for name, value in body.items() if value is not None})
    gateway = opened["gateway"] + (f"/{quote(asked.upstream, safe='')}" if asked.upstream else "")
    if opened.get("registered"):
        answer.say(f"{body['actor']} was not known: it is registered now, and you are its owner")
    if asked.json:
        answer.show_json({"task": opened["task"], "token": opened["handle"], "gateway": gateway})
        return answer.DONE
    answer.show(f"task {opened['task']} until {opened['deadline']}", *_grants(opened))
    answer.show(f"MCP at {gateway}", f"Authorization: Bearer {opened['handle']}")
    if held := opened.get("heartbeat"):
        does = {"end": "ends", "suspend": "is suspended"}[held["on_lost"]]
        answer.show(
            f"it {does} after {held['grace_s']} s without a heartbeat: each {held['every_s']} s "
            f"POST /v1/tasks/{opened['task']}/heartbeat"
        )
    return answer.DONE


def _list(client: Client, asked: argparse.Namespace) -> int:
    query = {"state": asked.state} if asked.state else {}
    tasks = answer.whole(client, "/v1/tasks", "tasks", **query)
    tasks.sort(key=lambda task: task["opened"], reverse=True)
    if asked.json:
        answer.show_json({"tasks": tasks, "next": None})
        return answer.DONE
    columns = {name: name for name in ("task", "state", "actor", "profile", "opened", "deadline", "reason")}
    answer.show_table(columns, tasks if asked.all else tasks[:SHOWN], "there are no tasks")
    if len(tasks) > SHOWN and not asked.all:
        answer.say(f"these are the newest {SHOWN} of {len(tasks)}: --all shows the others, --state those of one state")
    return answer.DONE


def _show(client: Client, asked: argparse.Namespace) -> int:
    task = client.request("GET", f"/v1/tasks/{quote(asked.task, safe='')}")
    if asked.json:
        answer.show_json(task)
        return answer.DONE
    answer.show(*(f"{name:9} {value}" for name, value in task.items() if name != "grants" and value is not None))
    answer.show(*_grants(task))
    return answer.DONE


def _end(client: Client, asked: argparse.Namespace) -> int:
    told = client.end_task(asked.task, asked.reason)
    if asked.json:
        answer.show_json(told)
    else:
        answer.show(*(f"ended {task}" for task in told["ended"]) if told["ended"] else (f"{asked.task} had ended",))
    return answer.DONE


def _grants(task: dict[str, Any]) -> list[str]:
    lines = [f"  {grant['said']}" for grant in task.get("grants", [])]
    return lines or ["  nothing is granted"]
