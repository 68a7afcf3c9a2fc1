"""`taskbound lease`: the credentials that are out, or still to be taken back."""

from collections.abc import Sequence

from taskbound.cli import answer

VERBS = {"list": "list leases that are not revoked"}


def main(words: Sequence[str]) -> int:
    """Run one `taskbound lease …`."""
    parser, _ = answer.with_verbs("lease", "Credentials at targets, each of one task.", VERBS, words)
    asked = parser.parse_args(words)
    found = answer.client().request("GET", "/v1/leases")
    if asked.json:
        answer.show_json(found)
    else:
        names = ("lease", "task", "target", "grant", "class", "name", "state", "expires", "overdue")
        answer.show_table({name: name for name in names}, found["leases"], "there are no leases")
    return answer.DONE
