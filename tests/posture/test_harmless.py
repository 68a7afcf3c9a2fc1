"""What looks like a credential and opens nothing: sealed, or said beside it to be dead; what is yet to die is one."""

import pytest

from taskbound.posture import harmless
from taskbound.posture.detection import Detector
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential
from tests.posture.planted import mark

TOKEN = "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"
SEALED = "Kq83mZx0LwPv82Tq92nXbR7sLmYy72kPqLx0Zn"


def found(path: str, text: str) -> list[int]:
    seen = scan(path, text.encode(), "shop", Detector(mark), mark).sightings
    return [one.place.line for one in seen if isinstance(one, Credential)]


@pytest.mark.parametrize(
    "line",
    [
        "`{}` was revoked on 2026-05-02",
        "{} is disabled, as is its user",
        "{} (invalidated, kept for the search)",
        "dead: {}",
        "{} has been rotated",
    ],
)
def test_what_prose_says_is_revoked_is_no_leak(line: str) -> None:
    assert found("incident.md", f"# x\n{line.format(TOKEN)}\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "{} must be revoked",
        "{} is not revoked yet",
        "revoke {}",
        "if {} was revoked it answers 401",
        "use {}",
        "MFA is disabled for it, log in with {}",
        "The old host is dead. {}",
        "| staging | disabled | {} |",
    ],
)
def test_what_is_yet_to_be_revoked_is_one(line: str) -> None:
    assert found("incident.md", f"# x\n{line.format(TOKEN)}\n") == [2]


def test_code_and_configuration_say_nothing_of_the_kind():
    assert found("a.yaml", f"token: {TOKEN} # revoked\n") == [1]
    assert found("a.py", f"TOKEN = '{TOKEN}'  # revoked\n") == [1]


def test_what_is_sealed_for_a_cluster_or_a_service_is_no_leak():
    sealed = f"kind: SealedSecret\nspec:\n  encryptedData:\n    token: {SEALED}\n"
    assert found("sealed.yaml", sealed) == []
    assert found(".travis.yml", f"env:\n  global:\n    - secure: {SEALED}\n") == []
    assert found("session.yaml", f"session:\n  secure:\n    token: {SEALED}\n") == [3]
    assert found("plain.yaml", f"spec:\n  data:\n    token: {SEALED}\n") == [3]


@pytest.mark.parametrize("text", [b'"""\\', b"'''\\", b'"""\\"""x\\'])
def test_a_text_that_never_ends_is_gone_over_once(text):
    """What is not taken for a text of three quotes would be looked through to the end from each of its quotes."""
    data = b"\n" + text * 1000
    ends = [one.end() for one in harmless._TEXTS.finditer(data)]
    assert ends[-1] == len(data) and len(ends) < 4


def test_a_lock_file_holds_versions_and_digests_under_the_names_of_packages():
    digest = "bnZ8kQ3vX5yLw2Rt9pJm4HsDc6FgAe1UoTiYqNxKzVrWjMlPbCdEfGh0S7aB9u8x3w2vQ5y4z1rTkLmNpOqRsA=="
    lock = f'{{"packages": {{"js-tokens": ["js-tokens@9.0.1", "", {{}}, "sha512-{digest}"]}}}}\n'
    assert found("web/bun.lock", lock) == []
    assert found("web/notes.json", lock) == [1]
    assert found("yarn.lock", f'resolved "https://x:{TOKEN}@npm.corp.example/a.tgz"\n') == [1]


def test_a_secret_of_podman_is_named_and_not_held():
    unit = "[Container]\nImage=shop\nSecret={},type=mount,uid=1000\n"
    assert found("shop.container", unit.format("ledger-jwt-secret")) == []
    assert found("shop.container", unit.format(TOKEN)) == [3]


def test_an_attribute_of_one_of_several_resources_is_no_value():
    resource = 'resource "aws_ssm_parameter" "web" {{\n  name  = "/web/token"\n  value = {}\n}}\n'
    assert found("main.tf", resource.format("edge_node.gateway[count.index].gateway[0].token")) == []
    assert found("main.tf", resource.format(f'"{TOKEN}"')) == [3]
