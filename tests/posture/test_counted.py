"""What is told as a credential: what was made up for a test or an example is none, until it stands elsewhere too."""

from datetime import date

import pytest

from taskbound.posture.detection import Detector
from taskbound.posture.inventory import Inventory
from taskbound.posture.scan import scan
from tests.posture.planted import mark

AS_OF = date(2031, 5, 1)
SECRET = "Vt9xQ2mLr7KpZ4wB"
PAT = "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"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIE{}\n-----END PRIVATE KEY-----\n".format("Vt9xQ2mLr7KpZ4wB" * 5)
CODE = f'password = "{SECRET}"\n'


def inventory(**files: str) -> Inventory:
    """Return what is seen in files, of which `path` names the first and `other` a second."""
    detector = Detector(mark)
    seen = (scan(path, text.encode(), "shop", detector, mark) for path, text in files.items())
    return Inventory((one for each in seen for one in each.sightings), AS_OF)


def paths(files: dict[str, str]) -> set[str]:
    return {one.place.path for one in inventory(**files).credentials}


@pytest.mark.parametrize(
    "path",
    [
        "tests/test_login.py",
        "tests/test_liveness.py",
        "tests/test_products.py",
        "pkg/login_test.go",
        "src/login.spec.ts",
        "spec/models/user_spec.rb",
        "src/test/java/org/shop/LoginTest.java",
        "Shop.Tests/Login.cs",
        "FunctionalTests/Login.cs",
        "src/__tests__/login.js",
        "conftest.py",
        "tap/fixtures.ts",
        "dummyserver/login.py",
    ],
)
def test_what_stands_in_tests_alone_is_not_told(path):
    assert paths({path: CODE}) == set()
    assert inventory(**{path: CODE}).not_counted == {"ended": 0, "made_up": 1}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/login.py", CODE),
        ("src/latest/login.py", CODE),
        ("src/contest.py", CODE),
        ("deploy/test/login.py", CODE),  # an environment
        ("src/test/java/org/shop/CarrierLiveIT.java", CODE),  # what it tries is live
        ("tests/production/test_login.py", CODE),
        ("tests/test_login.py", f'token = "{PAT}"\n'),  # an issuer gave it out
        (
            "tests/test_db.py",
            f'url = "postgres://app:{SECRET}@pg.corp.de:5432/pay"\n',
        ),  # it opens what is seen beside it
        ("tests/settings.yaml", f"password: {SECRET}\n"),
        ("tests/.env", f"PASSWORD={SECRET}\n"),
        ("spec/fixtures/cassettes/login.json", f'{{"password": "{SECRET}"}}\n'),  # it was real when it was recorded
        ("spec/fixtures/.env", f"PASSWORD={SECRET}\n"),
        ("spec/fixtures/users.json", f'{{"token": "{PAT}"}}\n'),
        ("deploy/test/tls.key", KEY),
        ("certs/tls.key", KEY),
        ("docs/login.md", f"    password = {SECRET}\n"),
    ],
)
def test_what_may_open_something_is_told(path, text):
    assert paths({path: text}) == {path}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tests/keys/tls.key", KEY),
        ("spec/fixtures/users.json", f'{{"password": "{SECRET}"}}\n'),
        ("src/test/resources/vectors.json", f'{{"secret": "{SECRET}"}}\n'),
        ("tests/test_db.py", f'url = "postgres://app:{SECRET}@localhost:5432/pay"\n'),
        ("tests/test_db.py", f'url = "postgres://app:{SECRET}@{{self.host}}/pay"\n'),
        ("src/client.ts", f'/**\n * Connects.\n *\n * const password = "{SECRET}"\n */\n'),
        ("src/client.rs", f'/// let password = "{SECRET}";\n'),
        ("src/client.py", f'def connect():\n    """Connect.\n\n    password="{SECRET}"\n    """\n'),
        ("src/client.py", f"def connect():\n    '''Connect.\n\n    password=\"{SECRET}\"\n    '''\n"),
        ("docs/usage.rst", f'>>> password = "{SECRET}"\n'),
        ("openapi.yaml", f"components:\n  User:\n    example:\n      password: {SECRET}\n"),
    ],
)
def test_what_is_shown_alone_is_not_told(path, text):
    assert paths({path: text}) == set()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/client.ts", f'/*\n * password = "{SECRET}"\n */\n'),  # put aside, and no documentation
        ("src/client.ts", f'/** Connects. */\nconst a = b\n  * password = "{SECRET}"\n'),
        ("src/client.py", f'conf = """\npassword="{SECRET}"\n"""\n'),
        ("src/client.py", f'"""Connect."""\npassword="{SECRET}"\n'),
        ("src/client.py", f'QUOTES = ("\'\'\'", \'"""\')\n"""One.\n"""\npassword="{SECRET}"\n'),
        ("src/client.ts", f'/**\n * const token = "{PAT}"\n */\n'),
        ("app.yaml", f"components:\n  User:\n    password: {SECRET}\n"),
    ],
)
def test_what_is_used_is_told(path, text):
    assert paths({path: text}) == {path}


def test_what_stands_elsewhere_too_is_told_in_all_its_places():
    files = {"tests/test_login.py": CODE, "config/app.yaml": f"password: {SECRET}\n"}
    assert paths(files) == set(files)


def test_a_page_about_the_code_is_no_other_place():
    assert paths({"tests/test_login.py": CODE, "docs/login.md": f"    password = {SECRET}\n"}) == set()
