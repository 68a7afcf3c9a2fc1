"""What is decoded where it stands: found by its form, or by the name that it is bound to, and not what says nothing."""

from base64 import b64encode

import pytest

from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential
from tests.posture.planted import mark
from tests.posture.whole import detector

TOKEN = "glpat-Xk3v9QmZ7tLpW2sBnR4y"
PASSWORD = "Kx83hfQpLm2zTb"
B64, HEX = b64encode(TOKEN.encode()).decode(), TOKEN.encode().hex()
P64, PHEX = b64encode(PASSWORD.encode()).decode(), PASSWORD.encode().hex()


def marks(path: str, text: str) -> list[tuple[str, str]]:
    seen = scan(path, text.encode(), "shop", detector(), mark).sightings
    return [(one.mark, one.encoding) for one in seen if isinstance(one, Credential)]


@pytest.mark.parametrize(
    ("path", "text", "encoding"),
    [
        ("ci/run.sh", f"echo {B64} | base64 -d > /tmp/t\n", "base64"),
        ("ci/run.sh", f"echo -n '{B64}' | base64 --decode >> .netrc\n", "base64"),
        ("ci/run.sh", f"base64 -d <<< \"{B64}\"\n", "base64"),
        ("ci/run.sh", f"printf '%s' {B64} | openssl base64 -d -A\n", "base64"),
        ("ci/run.sh", f"printf {HEX} | xxd -r -p\n", "hex"),
        ("ci/run.sh", f"xxd -r -p <<<'{HEX}'\n", "hex"),
        (".gitlab-ci.yml", f"a:\n  script:\n    - echo {B64} | base64 -d > k\n", "base64"),
        (".github/workflows/a.yml", f"jobs:\n  a:\n    steps:\n      - run: echo '{B64}' | base64 -D\n", "base64"),
        ("a.ps1", f"[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('{B64}'))\n", "base64"),
        ("a.py", f"x = base64.b64decode('{B64}')\n", "base64"),
        ("a.py", f"x = bytes.fromhex(\"{HEX}\")\n", "hex"),
        ("a.js", f"const x = Buffer.from('{HEX}', 'hex').toString()\n", "hex"),
        ("a.ts", f"const x = atob(`{B64}`)\n", "base64"),
    ],
)  # fmt: skip
def test_a_credential_that_is_decoded_on_the_spot_is_the_one_that_comes_out(
    path: str, text: str, encoding: str
) -> None:
    assert (mark(TOKEN), encoding) in marks(path, text)
    assert not any(one != mark(TOKEN) for one, _ in marks(path, text))


@pytest.mark.parametrize(
    ("path", "text", "encoding"),
    [
        ("ci/run.sh", f"export PGPASSWORD=$(printf '%s' '{PHEX}' | xxd -r -p)\n", "hex"),
        ("ci/run.sh", f"DB_PASSWORD=`echo {P64} | base64 -d`\n", "base64"),
        ("ci/run.sh", f"MYSQL_PWD=$(base64 -d <<< {P64})\n", "base64"),
        ("a.py", f"password = base64.b64decode(b'{P64}').decode()\n", "base64"),
        ("a.go", f'dbPassword, _ := hex.DecodeString("{PHEX}")\n', "hex"),
    ],
)
def test_a_password_that_is_decoded_on_the_spot_is_known_by_its_name(path: str, text: str, encoding: str) -> None:
    assert (mark(PASSWORD), encoding) in marks(path, text)


@pytest.mark.parametrize(
    "text",
    [
        f"echo {b64encode(b'hello, here is some text').decode()} | base64 -d\n",
        f"GREETING=$(echo {P64} | base64 -d)\n",
        f"echo {b64encode(b'changeme').decode()}== | base64 -d\n",
        f"DB_PASSWORD=$(echo {b64encode(b'changeme').decode()} | base64 -d)\n",
        "echo $SECRET_BASE64 | base64 -d > key\n",
        "xxd -r -p dump.hex\n",
        f"CHECKSUM=$(echo {'ab' * 20} | xxd -r -p)\n",
    ],
)
def test_what_is_no_credential_when_decoded_is_none(text: str) -> None:
    assert marks("ci/run.sh", text) == []
