"""Secrets of Terraform's state, its backups and plans, whatever the name of the attribute."""

import json

import pytest

from taskbound.posture.detection import Detector
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential
from tests.posture.planted import mark

VALUE = "Jd84kLmQ20ZxVtRw7Ps1"
STEP = {"type": "get_attr", "value": "thing"}


def found(path: str, document: object) -> int:
    text = json.dumps(document, indent=1)
    seen = scan(path, text.encode(), "shop", Detector(mark), mark).sightings
    return len([one for one in seen if isinstance(one, Credential)])


def state(type: str, attributes: object, **more: object) -> dict[str, object]:
    instance = {"attributes": attributes, **more}
    return {"version": 4, "terraform_version": "1.9", "resources": [{"type": type, "instances": [instance]}]}


def plan(**of: object) -> dict[str, object]:
    return {"format_version": "1.2", "terraform_version": "1.9", **of}


RESOURCE = {"type": "x", "values": {"thing": VALUE, "name": "n"}, "sensitive_values": {"thing": True}}
CHANGE = {"type": "x", "change": {"after": {"thing": VALUE}, "after_sensitive": {"thing": True}}}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("terraform.tfstate", state("random_password", {"result": VALUE, "length": 20})),
        ("terraform.tfstate.1712.backup", state("azuread_application_password", {"value": VALUE})),
        ("terraform.tfstate.backup", state("foo", {"thing": VALUE}, sensitive_attributes=[[STEP]])),
        ("terraform.tfstate", plan(lineage="x", outputs={"conn": {"value": VALUE, "sensitive": True}})),
        ("plan.json", plan(planned_values={"root_module": {"resources": [RESOURCE]}})),
        ("plan.json", plan(resource_changes=[CHANGE])),
        (
            "old.tfstate",
            {
                "version": 3,
                "terraform_version": "0.11",
                "modules": [
                    {"resources": {"a": {"type": "aws_iam_access_key", "primary": {"attributes": {"secret": VALUE}}}}}
                ],
            },
        ),
    ],
)
def test_what_a_state_keeps_in_plain_text_is_found(path: str, document: object) -> None:
    assert found(path, document) == 1


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("terraform.tfstate", state("random_pet", {"result": VALUE})),
        ("terraform.tfstate", plan(lineage="x", outputs={"conn": {"value": VALUE, "sensitive": False}})),
        ("other.json", {"resources": [{"type": "random_password", "instances": [{"attributes": {"result": VALUE}}]}]}),
    ],
)
def test_what_no_provider_calls_sensitive_is_not(path: str, document: object) -> None:
    assert found(path, document) == 0
