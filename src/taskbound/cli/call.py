"""`taskbound call`: what was asked for, and what became of it; the way to the id that `taskbound why` takes."""

from collections.abc import Sequence
from urllib.parse import urlencode

from taskbound.cli import answer

ABOUT = """\
Calls: what agents asked for, the newest first. A call's id is d… for people; in the log and its exports the same
call is c… with the same 20 characters, and taskbound why takes either.

  taskbound call list --denied            what was denied, of every task
  taskbound call list --task ID           what was asked for in one task
"""
VERBS = {"list": "list calls, the newest first"}
SHOWN = 50
MOST = 500  # in one answer of the server


def main(words: Sequence[str]) -> int:
    """Run one `taskbound call …`."""
    parser, verbs = answer.with_verbs("call", ABOUT, VERBS, words)
    verbs["list"].add_argument("--task", metavar="ID", help="only those in this task")
    verbs["list"].add_argument("--denied", action="store_true", help="only those that were denied")
    verbs["list"].add_argument(
        "--limit", metavar="N", type=answer.count, default=50, help=f"at most so many (50, {MOST})"
    )
    asked = parser.parse_args(words)
    if asked.limit > MOST:
        raise answer.Usage(f"--limit is at most {MOST}", hint="taskbound audit tail gives every event")
    query = {"task": asked.task, "state": "denied" if asked.denied else None, "limit": asked.limit}
    given = urlencode({name: value for name, value in query.items() if value is not None})
    found = answer.client().request("GET", f"/v1/calls?{given}")
    if asked.json:
        answer.show_json(found)
        return answer.DONE
    columns = {name: name for name in ("call", "at", "task", "action", "resource", "state", "code")}
    answer.show_table(columns, found["calls"], "there are no calls")
    if denied := next((call for call in found["calls"] if call["state"] == "denied"), None):
        answer.say(f"why, and what would unblock it: taskbound why {denied['call']}")
    if len(found["calls"]) == asked.limit:
        answer.say(f"these are the newest {asked.limit}; more with --limit N")
    return answer.DONE
