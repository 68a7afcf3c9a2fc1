"""Password files: netrc(5), .pgpass (taskbound.posture.parsers.ini)."""

import pytest

from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "machine a ",
    "login b ",
    "password c\n",
    "default ",
    "macdef m\n",
    "a:",
    ":",
    "\\",
    "\\:",
    "*",
    "#",
    '"',
    "\n",
    "a:b:c:d:e\n",
]


@pytest.fixture(scope="module", params=[".netrc", ".pgpass"])
def form(request) -> Form:
    def render(pairs):
        style = "machine {}\n  login u password {}" if request.param == ".netrc" else "h:5432:{}:u:{}"
        return "\n".join(style.format(*pair) for pair in pairs)

    return Form(request.param, "ini", render, PIECES, has_names=False)
