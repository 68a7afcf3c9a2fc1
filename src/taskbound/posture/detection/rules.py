"""Rules: how a token of a known form looks. gitleaks' rules are data beside this file, our own ones too (own.toml)."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

# How a name is bound to its value, and where a secret ends: in code, in XML, in lists, in URLs, in prose.
_IS = r"""[ \t\w.-]{0,20}[\s'"\\]{0,3}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=\\]{0,5}"""
_END = r"""(?=[\x60'"\s;,<>()\[\]{}|&#:@?!*\\]|\.(?:\s|\Z)|\Z)"""
# What is known by its own letters may be a part of an address too: https://api.telegram.org/bot…/getMe, …%26b=1.
_END_OF_FORM = _END.replace("[", "[/%", 1)


@dataclass(frozen=True)
class Rule:
    """One form of a secret.

    `anchors` are expressions of hyperscan (with "i": caseless) whose matches are looked at; `expression` (Python's
    syntax, bytes) then has to match from where the anchor begins, or the character before. `named`: it begins with a
    name, and the secret is what that binds; `is_password`: people choose it, and it is believed as passwords are. The
    secret is the group given, else the first that took part, else all.
    `in_addresses`: "/" may follow it; what is made of base64's letters alone would begin and end within others' base64.
    `allow`: what makes it none: expressions, `on` the secret or the whole match.
    """

    id: str
    expression: str
    anchors: Sequence[Sequence[str]]
    named: bool = False
    entropy: float = 0.0
    group: int = 0
    allow: Sequence[Mapping[str, Any]] = ()
    is_password: bool = False
    in_addresses: bool = False

    @cached_property
    def compiled(self) -> "re.Pattern[bytes]":
        """The expression, compiled when it is first needed: few rules ever are in one scan."""
        end = _END_OF_FORM if self.in_addresses else _END
        return re.compile(self.expression.replace("<is>", _IS).replace("<end>", end).encode())

    @cached_property
    def allowed(self) -> "Sequence[tuple[str, re.Pattern[str]]]":
        """What makes a match none: what is looked at, and the expression."""
        return [(one["on"], re.compile(text)) for one in self.allow for text in one["expressions"]]


@lru_cache(maxsize=1)
def gitleaks() -> Mapping[str, Any]:
    """Return gitleaks' rules and lists, as translated and shipped."""
    answer: Mapping[str, Any] = json.loads(resources.files(__package__).joinpath("gitleaks.json").read_bytes())
    return answer


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """Return every rule for tokens of a known form."""
    own = tomllib.loads(resources.files(__package__).joinpath("own.toml").read_text("utf-8"))
    forms = (
        Rule(id, rf"(?<![A-Za-z0-9])({begin}{rest})<end>", [(begin, "")], entropy=3.0, in_addresses=True)
        for id, (begin, rest) in own["forms"].items()
    )
    ours = (
        Rule(one["id"], one["expression"], [(text, "") for text in one["anchors"]], entropy=3.0, in_addresses=True)
        for one in own["rules"]
    )
    told = (
        Rule(
            one["id"],
            one["expression"],
            [(text, "i") for text in one["anchors"]],
            named=True,
            group=one.get("group", 0),
            is_password=True,
        )
        for one in own["passwords"]
    )
    return (*forms, *ours, *told, *(Rule(**one) for one in gitleaks()["rules"]))
