"""Lists as issuers of tokens give them: told by what stands in them, and where that is too little by their name."""

import json
from collections.abc import Mapping

import pytest

from tests.posture.whole import findings

PEOPLE = (
    "email,name,status,left_on,team\n"
    "rosa.vidal@shop.example,Rosa Vidal,terminated,2031-02-28,stock\n"
    "ines.kolb@shop.example,Ines Kolb,active,,stock\n"
)
ENDLESS, WIDE, UNUSED = {"token-without-expiry"}, {"token-scopes-too-wide"}, {"stale-access-key"}
LEFT = {"token-of-leaver-still-used", "identity-of-leaver-still-active"}


def cases(files: Mapping[str, str]) -> set[str]:
    return {one.case for one in findings(files)}


def told(files: Mapping[str, str]) -> list[tuple[str, int]]:
    return sorted((one.case, one.places[0].line) for one in findings(files))


def listed(*of: object, **wrapped: object) -> str:
    return json.dumps(wrapped if wrapped else list(of), indent=1)


# A list, and what of it says that the token is bounded.
LISTS: Mapping[str, tuple[dict[str, str], tuple[str, str], set[str]]] = {
    "JSON:API": (
        {
            "tokens.json": listed(
                data=[
                    {
                        "id": "at-1",
                        "type": "authentication-tokens",
                        "attributes": {
                            "created-at": "2030-01-10T08:00:00.000Z",
                            "last-used-at": "2031-04-10T08:00:00.000Z",
                            "description": "atlantis",
                            "token": None,
                            "expired-at": None,
                        },
                    }
                ]
            )
        },
        ('"expired-at": null', '"expired-at": "2030-12-01T00:00:00Z"'),
        ENDLESS,
    ),
    "JSON:API, whose it is": (
        {
            "people.csv": PEOPLE,
            "keys.json": listed(
                data=[
                    {
                        "type": "api_keys",
                        "id": "a-1",
                        "attributes": {"name": "agents", "created_at": "2031-03-04T10:00:00Z", "last4": "1a2b"},
                        "relationships": {"created_by": {"data": {"type": "users", "id": "u-1"}}},
                    }
                ],
                included=[{"type": "users", "id": "u-1", "attributes": {"email": "rosa.vidal@shop.example"}}],
            ),
        },
        ('"email": "rosa.vidal', '"email": "ines.kolb'),
        LEFT,
    ),
    "JSON:API, its last use": (
        {
            "keys.json": listed(
                data=[
                    {
                        "type": "api_keys",
                        "id": "a-1",
                        "attributes": {
                            "name": "agents",
                            "created_at": "2029-03-04T10:00:00Z",
                            "last4": "1a2b",
                            "date_last_used": "2030-03-04T10:00:00Z",
                        },
                    }
                ]
            ),
        },
        ('"date_last_used": "2030', '"date_last_used": "2031'),
        UNUSED,
    ),
    "under result": (
        {
            "api-tokens.json": listed(
                success=True,
                errors=[],
                result=[
                    {
                        "id": "ed17",
                        "name": "dns",
                        "status": "active",
                        "issued_on": "2030-07-01T05:20:00Z",
                        "expires_on": None,
                        "last_used_on": "2031-04-02T05:20:00Z",
                        "policies": [{"effect": "allow"}],
                    }
                ],
            )
        },
        ('"expires_on": null', '"expires_on": "2031-05-30T00:00:00Z"'),
        ENDLESS,
    ),
    "by what it says of revoking": (
        {
            "list.json": listed(
                {
                    "id": 4,
                    "name": "provisioner",
                    "created": "2030-07-09T18:33:05Z",
                    "lastUsedAt": "2031-04-20T00:00:00Z",
                    "expiration": None,
                    "hasExpired": False,
                    "isRevoked": False,
                }
            )
        },
        ('"isRevoked": false', '"isRevoked": true'),
        ENDLESS,
    ),
    "Vault": (
        {
            "accessors.json": listed(
                {
                    "accessor": "kq1a",
                    "creation_time": 1_870_000_000,
                    "display_name": "token-deployer",
                    "expire_time": None,
                    "policies": ["root"],
                    "ttl": 0,
                    "type": "service",
                }
            )
        },
        ('"expire_time": null', '"expire_time": "2031-05-30T00:00:00Z"'),
        ENDLESS,
    ),
    "Vault's root": (
        {
            "accessors.json": listed(
                {
                    "accessor": "kq1a",
                    "creation_time": 1_870_000_000,
                    "display_name": "token-deployer",
                    "expire_time": None,
                    "policies": ["root"],
                    "type": "service",
                }
            )
        },
        ('"root"', '"stock-read"'),
        WIDE,
    ),
    "others of the list have an end": (
        {
            "api_keys.json": listed(
                api_keys=[
                    {"id": "V1", "name": "ship", "creation": 1_890_995_200_158, "invalidated": False},
                    {
                        "id": "V2",
                        "name": "read",
                        "creation": 1_930_000_000_158,
                        "expiration": 1_940_000_000_158,
                        "invalidated": False,
                    },
                ]
            )
        },
        ('"creation": 1890995200158', '"creation": 1930000000158, "expiration": 1940000000158'),
        ENDLESS,
    ),
    "a table, its label": (
        {
            "list.csv": (
                "Token Label;Owner Email;Created;Expires;Last Accessed\n"
                "sync;ines.kolb@shop.example;14/02/2031;;28/04/2031\n"
            )
        },
        ("14/02/2031;;", "14/02/2031;14/06/2031;"),
        ENDLESS,
    ),
    "a right in words": (
        {"tokens.csv": "token_name,owner,permissions,expires\nsync,ines.kolb,Full access,2031-06-01\n"},
        ("Full access", "Read only"),
        WIDE,
    ),
}


@pytest.mark.parametrize(("files", "bounded", "expected"), LISTS.values(), ids=LISTS.keys())
def test_a_token_is_told_whatever_its_issuer_calls_its_members(
    files: dict[str, str], bounded: tuple[str, str], expected: set[str]
) -> None:
    assert expected & cases(files)
    assert any(bounded[0] in text for text in files.values())
    assert not expected & cases({name: text.replace(*bounded) for name, text in files.items()})


@pytest.mark.parametrize(
    ("path", "row"),
    [
        (
            "sessions.json",
            {"id": 1, "name": "web", "created": "2030-01-01", "expires": None, "lastUsedAt": "2030-02-01"},
        ),
        ("license_keys.json", {"name": "ide", "created": "2029-01-01", "expires": "2035-01-01", "owner": "rosa"}),
        ("translation-keys.json", {"name": "title", "created": "2029-01-01", "last_used": "2029-02-01"}),
        ("primary_keys.json", {"name": "id", "created": "2029-01-01", "owner": "stock"}),
        ("tokens.json", {"name": "accent", "created": "2029-01-01", "value": "#1a2b3c", "type": "color"}),
    ],
)
def test_a_list_of_something_else_is_none_of_tokens(path: str, row: dict[str, object]) -> None:
    assert not cases({path: listed(row)})
