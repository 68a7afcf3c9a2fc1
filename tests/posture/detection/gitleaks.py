"""gitleaks' rules, translated from Go's RE2 syntax: what `taskbound.posture.detection` ships. Writes the file.

.venv/bin/python -m tests.posture.detection.gitleaks
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

SOURCE = Path("tests/data/gitleaks/gitleaks.toml")
MADE = Path("src/taskbound/posture/detection/gitleaks.json")
ORIGIN = (
    "gitleaks/gitleaks config/gitleaks.toml, commit b58d3f102cf3a2c84cb7f923d05c25c9b1aed84b, MIT (LICENSE.gitleaks)"
)

# How gitleaks writes "NAME = " and what may follow a secret; both are said once here.
BEFORE = (r"(?i)[\w.-]{0,50}?", r"[\w.-]{0,50}?(?i:[\w.-]{0,50}?")
ASSIGNED = (
    r"""(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}""",
    r"""(?:[ \t\w.-]{0,20})[\s'"]{0,3})(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}""",
)
END = r"""(?:[\x60'"\s;]|\\[nr]|$)"""

# Rules that are no expression over text, or that our own ones replace (detection/own.py says how).
LEFT_OUT = {
    "pkcs12-file": "a file name alone",
    "kubernetes-secret-yaml": "values of manifests are read as values, decoded, with their names",
    "curl-auth-header": "own rule authorization-header",
    "curl-auth-user": "own rule user-and-password-argument",
    "private-key": "own rule private-key, which looks inside",
    "generic-api-key": "own rule for names; its lists are kept below",
    "hashicorp-tf-password": "own rule for names",
    "nuget-config-password": "own rule for names with their values in attributes",
    "jwt": "own rule jwt, which looks inside",
    "jwt-base64": "what is decoded is looked at by that too",
}

# Where a keyword is too common in ordinary text to look at each one: what stands there instead, and how it is read.
ANCHORS: dict[str, tuple[str, str]] = {
    "twilio-api-key": (r"SK[0-9a-fA-F]{32}", ""),
    "vault-service-token": (r"(?:hvs\.[\w-]{40}|\bs\.[A-Za-z0-9]{24})", ""),
    "sendgrid-api-token": (r"SG\.[a-zA-Z0-9=_\-\.]{60}", ""),
    "harness-api-key": (r"[ps]at\.[a-zA-Z0-9_-]{22}\.", ""),
    "authress-service-client-access-key": (r"(?:sc|ext|scauth|authress)_[a-zA-Z0-9]{5,30}\.[a-zA-Z0-9]{4,6}\.acc", ""),
    "square-access-token": (r"(?:EAAA|sq0atp-)[\w-]{22}", ""),
    "aws-access-token": (r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", ""),
    "facebook-access-token": (r"[0-9]{15}[|%][0-9A-Za-z_-]{27}", ""),
    "airtable-personnal-access-token": (r"pat[a-zA-Z0-9]{14}\.[a-f0-9]{32}", ""),
    "gitlab-rrt": (r"GR1348941", ""),
    "octopus-deploy-api-key": (r"API-[A-Z0-9]{26}", ""),
    "huggingface-access-token": (r"hf_[A-Za-z]{34}", ""),
    "clickhouse-cloud-api-secret-key": (r"\b4b1d[A-Za-z0-9]{38}", ""),
    "cloudflare-origin-ca-key": (r"v1\.0-[a-f0-9]{24}-", ""),
    "okta-access-token": (r"(?:[Oo]kta|OKTA)", ""),
    "sumologic-access-id": (r"(?:[Ss]umo|SUMO)", ""),
    "sumologic-access-token": (r"(?:[Ss]umo|SUMO)", ""),
    "etsy-access-token": (r"(?:ETSY|[Ee]tsy)", ""),
    "lob-api-key": (r"\blob", "i"),
    "lob-pub-api-key": (r"\blob", "i"),
    "gocardless-api-token": (r"gocardless", "i"),
    "new-relic-browser-api-token": (r"new[-_]?relic", "i"),
    "new-relic-insert-key": (r"new[-_]?relic", "i"),
    "new-relic-user-api-key": (r"new[-_]?relic", "i"),
    "typeform-api-token": (r"typeform", "i"),
    "snyk-api-token": (r"snyk", "i"),
    "sonar-api-token": (r"sonar", "i"),
    "intra42-client-secret": (r"s-s4t2(?:ud|af)-", ""),
    "azure-ad-client-secret": (r"[a-zA-Z0-9_~.]{3}[0-9]Q~[a-zA-Z0-9_~.-]{31}", ""),
    "maxmind-license-key": (r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk", ""),
    "hashicorp-tf-api-token": (r"[A-Za-z0-9]{14}\.atlasv1\.", ""),
    "sidekiq-sensitive-url": (r"https?://[a-f0-9]{8}:[a-f0-9]{8}@", ""),
    "sourcegraph-access-token": (r"sgp_", "i"),
    "openai-api-key": (r"sk-(?:[A-Za-z0-9]{20}|(?:proj|svcacct|admin)-[A-Za-z0-9_-]{58,74})T3BlbkFJ", ""),
    "microsoft-teams-webhook": (r"https://[a-z0-9]{1,60}\.webhook\.office\.com", ""),
}


def pythons(expression: str) -> str:
    """Return what Python's `re` reads as RE2 reads `expression`: flags in the middle, classes, the end."""
    made = expression.replace("[[:alnum:]]", "[a-zA-Z0-9]").replace(r"\z", r"\Z")
    # A class that holds "[" looks like a nested one.
    out, waiting, place, inside = "", [0], 0, False
    while place < len(made):
        char = made[place]
        if char == "\\":
            out, place = out + made[place : place + 2], place + 2
            continue
        if inside:
            inside = char != "]"
            out += "\\[" if char == "[" else char
        elif char == "[":
            inside = True
            out += char
            if made[place + 1 : place + 2] == "^":
                out, place = out + "^", place + 1
            if made[place + 1 : place + 2] == "]":
                out, place = out + "\\]", place + 1
        elif made.startswith("(?i)", place) and place:
            # A flag in the middle of a group counts until that group's end.
            out += "(?i:"
            waiting[-1] += 1
            place += 3
        elif char == "(":
            waiting.append(0)
            out += char
        elif char == ")":
            out += ")" * waiting.pop() + char
        elif char == "|" and waiting[-1]:
            raise ValueError(f"a flag in one branch only: {expression}")
        elif char == "$":
            out += r"\Z"
        else:
            out += char
        place += 1
    return out + ")" * waiting.pop()


def rule(one: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as it is shipped."""
    expression, named = one["regex"], False
    for before, assigned in zip(BEFORE, ASSIGNED, strict=True):
        if expression.startswith(before) and assigned in expression:
            name, value = expression.removeprefix(before).split(assigned, 1)
            expression, named = f"(?i:{name})<is>{value}" if before.startswith("[") else f"(?i){name}<is>{value}", True
            break
    made = pythons(expression.replace(END, "<end>"))
    anchors = [ANCHORS[one["id"]]] if one["id"] in ANCHORS else [(re.escape(word), "i") for word in one["keywords"]]
    allow = [
        {
            "on": found.get("regexTarget", "secret"),
            "expressions": [pythons(text) for text in found.get("regexes", ())],
            "words": found.get("stopwords", ()),
        }
        for found in one.get("allowlists", ())
        if "regexes" in found or "stopwords" in found
    ]
    answer: dict[str, Any] = {"id": one["id"], "expression": made, "anchors": anchors}
    answer |= {"named": True} if named else {}
    answer |= {"entropy": one["entropy"]} if "entropy" in one else {}
    answer |= {"group": one["secretGroup"]} if "secretGroup" in one else {}
    answer |= {"allow": allow} if allow else {}
    return answer


def translated() -> str:
    """Return the text of the shipped file."""
    source = tomllib.loads(SOURCE.read_text())
    generic = next(one for one in source["rules"] if one["id"] == "generic-api-key")
    made = {
        "origin": ORIGIN,
        "allow": {
            "expressions": [pythons(text) for text in source["allowlist"]["regexes"]],
            "words": source["allowlist"]["stopwords"],
            "paths": [pythons(text) for text in source["allowlist"]["paths"]],
        },
        "generic": {
            "expressions": [pythons(text) for text in generic["allowlists"][1]["regexes"]],
            "words": generic["allowlists"][1]["stopwords"],
        },
        "rules": [rule(one) for one in source["rules"] if one["id"] not in LEFT_OUT],
    }
    # A rule on each line, so that a change shows what it changes.
    return (
        re.sub(r'\[(?=\{"id")|(?<=\}), (?=\{"id")', lambda found: found[0] + "\n", json.dumps(made, ensure_ascii=False))
        + "\n"
    )


if __name__ == "__main__":
    MADE.write_text(translated())
