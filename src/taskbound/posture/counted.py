"""Counted: which of what was found is told as a credential: nothing past its own end, nothing made up to be tried or
shown."""

import re
from collections.abc import Iterable
from datetime import datetime

from taskbound.posture.document import CODE
from taskbound.posture.harmless import MADE_UP
from taskbound.posture.sighting import Credential

_TESTS = re.compile(
    r"(?:^|[/:])(?:(?:[\w.-]*[._-])?(?:[Tt]ests?|[Ss]pecs?|test(?:ing|data|certs?|keys?|utils?|files|assets|support|helpers?|suite)|fixtures?|mocks?|e2e)(?:[._-][\w.-]*)?"
    r"|\w*[a-z](?:Tests?|Specs?)|(?:dummy|fake|mock|stub)[\w-]*)/"
    r"|(?:^|[/:])(?:test_[^/]*|conftest|tests?|fixtures?|[^/]*[_.-](?:tests?|specs?|e2e)|[^/]*[a-z](?:Tests?|Spec))\.\w+$"
)
# Data that is made for tests; what was recorded for them, and what sets an environment up, was real once.
_MADE_FOR = re.compile(r"(?:^|[/:])(?:(?:__)?fixtures?(?:__)?|test[-_]?data|__snapshots__|src/test/resources)/")
_RECORDED = re.compile(r"cassettes?|vcr|record|\.env|\.(?:log|har)$", re.I)
# There a folder "test" is an environment, with credentials that open it; and some tests try what is live.
_DEPLOYED = re.compile(
    r"(?:^|[/:])(?:env(?:s|ironments?)?|deploy\w*|stacks?|live|clusters?|overlays?|k8s|infra\w*|terraform)/"
    r"|(?:^|[/_.-])(?:live|prod(?:uction)?|staging)(?:[/_.-]|$)|(?-i:[a-z](?:Live|Prod(?:uction)?|Staging)(?=[A-Z._]))",
    re.I,
)
_PAGES = re.compile(r"(?:^|/)(?:docs?/|README|CHANGELOG)[^\0]*\.(?:md|mdx|rst|adoc|txt)$", re.I)
# RFC 2606, and what is filled in when the test runs.
_NOWHERE = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net))?|test|invalid)$|^\W", re.I)


def has_ended(one: Credential, now: datetime) -> bool:
    """Whether a token says itself that it works no more."""
    return one.life is not None and 0 < one.life[1] < now.timestamp()


def made_up(credentials: Iterable[Credential]) -> frozenset[str]:
    """Return the marks of what stands in tests and examples alone, and opens nothing that is seen elsewhere."""
    shown, described, others = set[str](), set[str](), set[str]()
    for one in credentials:
        tried = one.spot == "example" or _is_of_a_test(one)
        (shown if tried else described if _is_described(one) else others).add(one.mark)
    return frozenset(shown - others)


def _is_described(one: Credential) -> bool:
    """Whether it stands on a page about the code. That alone makes it no example: people write down what they use."""
    return one.kind in MADE_UP and bool(_PAGES.search(one.place.path))


def _is_of_a_test(one: Credential) -> bool:
    """Whether it is something made up in the code of tests, or a key that lies beside it."""
    path = one.place.path
    if not _TESTS.search(path) or _DEPLOYED.search(path):
        return False
    if one.kind in ("private-key", "gcp-service-account-key"):
        return True
    if one.kind in MADE_UP and _MADE_FOR.search(path) and not _RECORDED.search(path):
        return not one.target
    if not path.lower().endswith(CODE):
        return False
    from taskbound.posture.readers.hosts import Address  # late: who finds nothing needs no readers

    host = re.sub(r":\d*$", "", one.target.partition("/")[0])
    is_nobodys = Address("", host, None).is_here or bool(_NOWHERE.search(host))
    return is_nobodys and (one.kind in MADE_UP or one.kind.endswith(("-password", "password-argument")))
