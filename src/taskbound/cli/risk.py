"""`taskbound risk`: what is open, who answers for leaving what as it is, and until when."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from urllib.parse import quote

from taskbound.cli import answer

VERBS = {
    "accept": "let a person answer for a finding until a day; then it is open again",
    "list": "list the findings of the registry: open, expired, accepted; the residual risk",
}
FORMATS = ("table", "csv", "html")


def main(words: Sequence[str]) -> int:
    """Run one `taskbound risk …`."""
    about = "The findings that taskbound discover brought into the registry of taskbound up."
    parser, verbs = answer.with_verbs("risk", about, VERBS, words)
    accept = verbs["accept"]
    accept.add_argument("finding", metavar="FINDING", help="its id, or the one that discover prints")
    accept.add_argument("--owner", metavar="NAME", required=True, help="the human who answers for it: human/NAME")
    accept.add_argument("--until", metavar="DATE", type=answer.day, required=True, help="the last day, a year at most")
    accept.add_argument("--reason", metavar="TEXT", required=True, help="why it is left so")
    verbs["list"].add_argument("--format", choices=FORMATS, default="table")
    asked = parser.parse_args(words)
    return _accept(asked) if asked.verb == "accept" else _list(asked)


def _accept(asked: argparse.Namespace) -> int:
    owner = asked.owner if "/" in asked.owner else f"human/{asked.owner}"
    until = datetime.combine(asked.until + timedelta(days=1), time.min, UTC)  # the day that is named is the last one
    body = {"owner": owner, "until": until.isoformat(), "reason": asked.reason}
    told = answer.client().request("POST", f"/v1/findings/{quote(asked.finding, safe='')}/accept", body)
    if asked.json:
        answer.show_json(told)
    else:
        from taskbound.posture.risks import last_day

        day = last_day(told["until"])
        answer.show(f"{told['id']} is accepted by {told['accepted_by']} until {day}: {told['reason']}")
    return answer.DONE


def _list(asked: argparse.Namespace) -> int:
    found = answer.whole(answer.client(), "/v1/findings", "findings")
    from taskbound.posture.risks import as_csv, as_html, as_table, risks

    now = datetime.now(UTC)
    known = risks(found, now)
    if asked.json:
        answer.show_json({"risks": [{**one.of, "standing": one.standing} for one in known]})
    elif asked.format == "table":
        answer.show(*as_table(known))
    else:
        lines = as_csv(known) if asked.format == "csv" else as_html(known, now)
        for line in lines:
            print(line, end="\r\n" if asked.format == "csv" else "\n")
    return answer.DONE
