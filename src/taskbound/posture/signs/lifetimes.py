"""Lifetimes: how long a credential is made to last, wherever it is said, and keys that are made without an end.

Sources: RFC 9700 (short access tokens), Vault's AppRole and token options, jsonwebtoken, jose, PyJWT, golang-jwt, .NET
and Spring, Kubernetes' TokenRequest, Azure's credential commands, Google's and AWS' commands that make keys.
"""

import re
from math import prod

from taskbound.posture.signs.sign import IS, Sign, Spot
from taskbound.posture.signs.where import is_trial

_LONG = "lifetime-too-long"
_ENDLESS = "credential-made-without-end"
DAY = 86_400
YEAR = 365 * DAY
# Seconds that a credential may be made to last, by what its name says; the first that fits counts.
LIMITS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"refresh|offline", re.I), YEAR + DAY),
    (re.compile(r"cert|pki|validity_period", re.I), 3 * YEAR + DAY),
    (re.compile(r"access|id[-_]?token|expirationseconds", re.I), 30 * DAY),
    (re.compile(r""), 90 * DAY),
)
_UNITS = {
    "ms": 0.001, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "mins": 60, "minute": 60,
    "minutes": 60, "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600, "d": DAY, "day": DAY, "days": DAY,
    "w": 7 * DAY, "week": 7 * DAY, "weeks": 7 * DAY, "mo": 30 * DAY, "month": 30 * DAY, "months": 30 * DAY, "y": YEAR,
    "yr": YEAR, "yrs": YEAR, "year": YEAR, "years": YEAR, "millis": 0.001, "milliseconds": 0.001,
}  # fmt: skip
_NAMED_UNIT = re.compile(
    r"(?:^|[-_.]|in[-_]?|(?<=[a-z]))(ms|millis(?:econds)?|sec(?:ond)?s?|min(?:ute)?s?|hours?|days?|weeks?|years?)$",
    re.I,
)
_VALUE = re.compile(r"(?P<number>\d[\d_]*(?:[ \t]*\*[ \t]*\d[\d_]*)*)[ \t]*(?P<unit>[a-zA-Z]*)")
_ISO = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?)?", re.I)
_MADE = re.compile(
    r"(?:timedelta\(\s*|Duration\.of|TimeSpan\.From|plus|Add)(days|hours|weeks|years|months)\s*[=(]\s*(\d+)", re.I
)


def seconds(name: str, value: str) -> float:
    """How long a value means; 0 where its unit cannot be told.

    Where neither name nor value says the unit: a number of years in seconds, or one that is a year in milliseconds.
    """
    value = value.strip().strip("\"'")
    if made := _MADE.search(value):
        return int(made[2]) * _UNITS[made[1].lower()]
    if value[:1] in "Pp" and (iso := _ISO.fullmatch(value)):
        years, months, weeks, days, hours = (int(one or 0) for one in iso.groups())
        return years * YEAR + months * 30 * DAY + weeks * 7 * DAY + days * DAY + hours * 3600
    found = _VALUE.match(value)
    if not found:
        return 0
    number = prod(int(one.replace("_", "")) for one in found["number"].split("*"))
    unit = found["unit"].lower()
    if unit in _UNITS:
        return number * _UNITS[unit]
    if named := _NAMED_UNIT.search(name):
        return number * _UNITS[named[1].lower()]
    if number and (number % YEAR == 0 or number % (YEAR + DAY // 4) == 0) and number < 200 * YEAR:
        return number
    return number / 1000 if number >= 1000 * YEAR else 0


def limit(name: str) -> int:
    return next(most for named, most in LIMITS if named.search(name))


def told(length: float) -> str:
    days = length / DAY
    return f"{round(days / 365.25)} years" if days > 700 else f"{round(days)} days"


def _long(spot: Spot) -> str:
    """What is said of a name with a value, if that lasts too long."""
    name, value = spot.found["name"], spot.found["value"]
    length = seconds(name, value)
    if length <= limit(name) or is_trial(spot) or length > 1000 * YEAR:
        return ""
    return f"makes credentials that last {told(length)} ({name[-60:]})"


def _long_in_code(spot: Spot) -> str:
    made = _MADE.search(spot.found[0])
    length = int(made[2]) * _UNITS[made[1].lower()] if made else 0
    about = re.search(r"\bexp\b|expir|jwt|token|credential|secret|enddate|end_date|api_?key", spot.around, re.I)
    if (
        length <= limit(spot.line)
        or not about
        or is_trial(spot)
        or re.search(
            "cookie|cache|purge|delete|retention|card|mock|coupon|membership|warranty|licen[cs]e", spot.line, re.I
        )
    ):
        return ""
    return f"makes credentials that last {told(length)}"


def _years_in_code(spot: Spot) -> str:
    """AddDate(10, 0, 0) of Go, 10.years.from_now of Ruby, where it is the end of a token."""
    length = int(re.findall(r"\d+", spot.found[0])[0]) * YEAR
    about = re.search(r"\bexp\b|expir|jwt|token|credential", spot.around, re.I)
    return (
        f"makes credentials that last {told(length)}"
        if length > limit(spot.line) and about and not is_trial(spot)
        else ""
    )


def _below_jwt(spot: Spot) -> str:
    """A life that stands below `jwt:` or `token:`, in seconds where nothing is said."""
    above = "\n".join(spot.above.split("\n")[-5:])
    if not re.search(
        r"^[ \t]*[\"']?[\w.-]*(?:jwt|token)[\w.-]*[\"']?[ \t]*[:=]?[ \t]*\{?[ \t\r]*$", above, re.I | re.M
    ):
        return ""
    return _long(spot) if spot.path.endswith((".yaml", ".yml", ".json", ".toml", ".conf", ".properties")) else ""


def _of_kubernetes(spot: Spot) -> str:
    """cert-manager's Certificate; `privateKey` has a rotation of its own."""
    return _certificate(spot) if re.search(r"kind:[ \t]*[\"']?Certificate\b", spot.around + spot.above) else ""


def _hours_in_go(spot: Spot) -> str:
    length = prod(map(int, re.findall(r"\d+", spot.found[0]))) * 3600
    about = re.search(r"\bexp|jwt|token|credential", spot.around, re.I)
    return f"makes credentials that last {told(length)}" if length > 90 * DAY and about and not is_trial(spot) else ""


def _certificate(spot: Spot) -> str:
    """Of an authority's own certificate ten years are usual."""
    length = seconds(spot.found["name"], spot.found["value"])
    authority = re.search(
        r"is_?ca(?:_?certificate)?[\"']?\s*[:=]\s*true|\broot_?ca\b|self_signed_ca", spot.around, re.I
    )
    return (
        f"makes certificates that last {told(length)}"
        if length > 3 * YEAR + DAY and not authority and not is_trial(spot)
        else ""
    )


def _years(spot: Spot) -> bool:
    number = re.search(r"--years[= \t]+(\d+)", spot.found[0])
    end = re.search(r"--(?:end-date|expiry)[= \t]+[\"']?(\d{4})", spot.found[0])
    return bool((number and int(number[1]) > 2) or (end and int(end[1]) > 2035))


def _endless(spot: Spot) -> bool:
    used = re.search(r"secret_id_num_uses[\"']?\s*[:=]\s*[\"']?[1-9]", spot.around)
    return not used and not is_trial(spot)


def _not_trial(spot: Spot) -> bool:
    return not is_trial(spot)


_NUMBER = (
    r"(?P<value>\d[\d_]{0,15}(?:[ \t]*\*[ \t]*\d[\d_]{0,9}){0,6}[ \t]*[a-z]{0,12}|P\d[\dYMWDTHS]{1,16}"
    r"|timedelta\([ \t]*\w{1,8}[ \t]*=[ \t]*\d{1,6}|Duration\.of\w{1,8}\(\d{1,6})"
)

SIGNS: tuple[Sign, ...] = (
    Sign(
        _LONG,
        rf"\b(?P<name>[\w.-]{{0,40}}(?:token|jwt|secret[-_]?id|lease|api[-_]?key|credential)[\w.-]{{0,24}}"
        rf"(?:ttl|life[-_.]?time|life[-_.]?span|expir[a-z]{{0,8}}|expires[-_.]?in|validity|max[-_.]?age"
        rf"|duration|period|exp)[\w.-]{{0,20}}){IS}{_NUMBER}",
        "makes credentials that last for years",
        none=r"cookie|rotat|threshold|warn|grace|notify",
        only=_long,
        anchor=(
            r"(?:token|jwt|secret[-_]?id|lease|api[-_]?key|credential)[\w.-]{0,24}(?:ttl|life|expir|validity"
            r"|max[-_.]?age|duration|period|exp)"
        ),
    ),
    Sign(
        _LONG,
        rf"\b(?P<name>expiresIn|expires_in|setExpirationTime|expirationSeconds|exp_after|end_date_relative"
        rf"|secondsToLive|seconds_to_live"
        rf"|lifetime_in_seconds|jwt[-_.]expiration|jwtExpiration(?:Ms|InMs)?)(?:{IS}|\([ \t]*[\"']){_NUMBER}",
        "makes credentials that last for years",
        none=r"cookie|cache",
        only=_long,
        anchor=(
            r"\b(?:expiresIn|expires_in|setExpirationTime|expirationSeconds|exp_after|end_date_relative"
            r"|secondsToLive|seconds_to_live|lifetime_in_seconds|jwt[-_.]?expiration)"
        ),
    ),
    Sign(
        _LONG,
        (
            r"\b(?:timedelta\([ \t]*(?:days|weeks)[ \t]*=[ \t]*\d{2,6}|Duration\.ofDays\(\d{3,6}"
            r"|TimeSpan\.FromDays\(\d{3,6}|\.?Add(?:Years|Months|Days)\(\d{1,6}|plus(?:Years|Months"
            r"|Days)\(\d{1,6})"
        ),
        "makes credentials that last for years",
        only=_long_in_code,
        anchor=(
            r"timedelta\([ \t]*(?:days|weeks)|Duration\.ofDays|TimeSpan\.FromDays|(?:Add|plus)(?:Years|Months"
            r"|Days)\("
        ),
    ),
    Sign(
        _LONG,
        (
            r"\btime\.Hour[ \t]*\*[ \t]*\d{2,6}(?:[ \t]*\*[ \t]*\d{1,6}){0,3}"
            r"|\b\d{2,6}(?:[ \t]*\*[ \t]*\d{1,6}){0,3}[ \t]*\*[ \t]*time\.Hour\b"
        ),
        "makes credentials that last for years",
        only=_hours_in_go,
        anchor=r"time\.Hour",
    ),
    Sign(
        _LONG,
        rf"\b(?P<name>validity_period_hours|validity_period_days){IS}{_NUMBER}",
        "makes certificates that last for years",
        only=_certificate,
        anchor=r"validity_period_(?:hours|days)",
    ),
    Sign(
        _LONG,
        (
            r"\bkubectl[ \t][^\n]{0,60}create[ \t]{1,4}token\b[^\n"
            r"]{0,120}--(?P<name>duration)[= \t]{1,4}(?P<value>\d{1,9}[smhd]?)"
        ),
        "makes a service account's token that lasts for months",
        only=_long,
        anchor=r"create[ \t]{1,4}token\b",
    ),
    Sign(
        _LONG,
        (
            r"\bvault[ \t]{1,4}(?:token[ \t]{1,4}create|write)\b[^\n]{0,160}[ \t-](?P<name>period|ttl"
            r"|explicit-max-ttl|max_ttl|token_ttl|token_max_ttl)=(?P<value>\d{1,9}[smhdy]?)"
        ),
        "makes tokens of the secret store that last for months",
        only=_long,
        anchor=r"\bvault[ \t]{1,4}(?:token|write)\b",
    ),
    Sign(
        _LONG,
        (
            r"\baz[ \t]{1,4}ad[ \t]{1,4}(?:sp|app)[ \t]{1,4}(?:create-for-rbac|credential[ \t]{1,4}reset)\b[^\n"
            r"]{0,200}(?:--years[= \t]{1,4}\d{1,3}|--end-date[= \t]{1,4}[\"']?\d{4})"
        ),
        "makes a client secret that lasts for years",
        only=_years,
        anchor=r"\baz[ \t]{1,4}ad[ \t]",
    ),
    Sign(
        _LONG,
        r"\bgenerate-sas\b[^\n]{0,300}--expiry[= \t]{1,4}[\"']?\d{4}"
        r"|\bstorage[ \t]{1,4}\w{1,20}[ \t]{1,4}policy[ \t]{1,4}create\b"
        r"[^\n]{0,300}--expiry[= \t]{1,4}[\"']?\d{4}",
        "makes a signature for a store (SAS) that works for years",
        only=_years,
        anchor=r"generate-sas\b|policy[ \t]{1,4}create\b",
    ),
    Sign(
        _LONG,
        r"\bAddDate\([ \t]*[1-9]\d?,|\b[1-9]\d?\.years?\.from_now\b",
        "makes credentials that last for years",
        none=r"cookie|cache|card|coupon|licen[cs]e|subscription|warranty",
        only=_years_in_code,
        anchor=r"\bAddDate\(|\.years?\.from_now",
    ),
    Sign(
        _LONG,
        rf"^[ \t\"'-]{{0,40}}(?P<name>(?:expiration|expiry|expires?|ttl|validity|lifetime|life-?span)(?:[-_]?in)?"
        rf"(?:[-_]?(?:ms|millis|seconds|minutes|hours|days|time))?){IS}{_NUMBER}",
        "makes credentials that last for years",
        none=r"cookie|cache|refresh",
        only=_below_jwt,
        anchor=r"(?:expiration|expiry|expires?|ttl|validity|lifetime|life-?span)[\w-]{0,14}[\"']?[ \t]{0,4}[:=]",
    ),
    Sign(
        _LONG,
        rf"^[ \t]{{2,12}}(?P<name>duration){IS}(?P<value>\d{{4,7}}h)",
        "makes certificates that last for years",
        only=_of_kubernetes,
        anchor=r"\bduration[\"']?:[ \t]{0,4}[\"']?\d{4,7}h",
    ),
    Sign(
        _ENDLESS,
        r"^[ \t]{0,12}['\"](?:expiration|ttl)['\"][ \t]*=>[ \t]*(?:env\([^\n)]{0,60},[ \t]*)?null\b",
        "makes tokens that never end",
        only=lambda spot: bool(re.search(r"(?:^|/)(?:sanctum|jwt|passport)\.php$", spot.path)),
        anchor=r"['\"](?:expiration|ttl)['\"][ \t]{0,12}=>",
    ),
    Sign(
        _ENDLESS,
        rf"\bsecret_id_ttl{IS}0[sm]?\b",
        "makes secret ids of Vault that never end (secret_id_ttl)",
        only=_endless,
    ),
    Sign(
        _ENDLESS,
        (
            rf"\b[\w.-]{{0,30}}(?:token|secret[-_]?id|api[-_]?key|pat)[-_.]?(?:ttl|life[-_]?time|expir(?:y|es"
            rf"|ation|es[-_]?in)|validity){IS}(?:never|none|nil|-1|unlimited|infinite)\b"
        ),
        "makes credentials that never end",
        none=r"Optional|:\s*(?:int|str|datetime)|= None",
        only=_not_trial,
        anchor=r"(?:token|secret[-_]?id|api[-_]?key|pat)[-_.]?(?:ttl|life|expir|validity)",
    ),
    Sign(
        _ENDLESS,
        (
            rf"\binfinite_token_lifetime{IS}true\b|\bexpiration_type{IS}non-expiring\b|\bseconds_?to_?live{IS}0\b"
            rf"|\baccess-token-create\b[^\n]{{0,80}}--expiry[= ]0\b"
        ),
        "makes tokens that never end",
        only=_not_trial,
        anchor=r"infinite_token_lifetime|expiration_type|seconds_?to_?live|access-token-create",
    ),
    Sign(
        _ENDLESS,
        (
            r"\bgcloud[ \t]{1,4}iam[ \t]{1,4}service-accounts[ \t]{1,4}keys[ \t]{1,4}create\b"
            r"|\baws[ \t]{1,4}iam[ \t]{1,4}create-access-key\b"
        ),
        "makes a key of a service that never ends",
        none=r"^\s*#",
        only=lambda spot: not is_trial(spot) and not spot.path.endswith(("_history", ".history")),
        anchor=r"keys[ \t]{1,4}create\b|create-access-key\b",
    ),
)
