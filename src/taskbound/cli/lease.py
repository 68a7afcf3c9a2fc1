"""`taskbound lease`: the credentials that are out, or still to be taken back."""

from collections.abc import Sequence

from taskbound.cli import answer

VERBS = {"list": "list leases that are not revoked, the newest first"}


def main(words: Sequence[str]) -> int:
    """Run one `taskbound lease …`."""
    parser, _ = answer.with_verbs("lease", "Credentials at targets, each of one task.", VERBS, words)
    asked = parser.parse_args(words)
    found = answer.whole(answer.client(), "/v1/leases", "leases")
    found.sort(key=lambda lease: lease["issued"] or "", reverse=True)
    if asked.json:
        answer.show_json({"leases": found, "next": None})
    else:
        names = ("lease", "task", "target", "grant", "class", "name", "state", "issued", "expires", "overdue")
        answer.show_table({name: name for name in names}, found, "there are no leases")
    return answer.DONE
