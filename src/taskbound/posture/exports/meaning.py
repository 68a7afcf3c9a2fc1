"""Meaning: what a table lists whose columns have names that no issuer gives them.

A column means what the words of its name say, without what they are said of (`KeyCreated`, `created_at` and `Key
issued on` are one), or what stands in it (an AWS key id, a service account's address, `administration:write`). A list
is of the kind of which its columns say most, and of none where they say too little: each meaning has a weight, and
some must be there. What a kind's reader asks for is then there under the name that it asks for.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports import aws, entra, gcp, github, people, repositories, tokens
from taskbound.posture.exports.columns import GONE, NAMES, NO, YES, plain
from taskbound.posture.exports.rows import moment
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

SAMPLE = 200  # rows whose cells are looked at for what a column is
SAID = 0.7  # of the cells with a text, how many must be of a form
DEPTH = 4  # of tables and lists in which a list may lie
COLUMNS = 80
BESIDE = 8  # lists beside each other; more are no export

# Words before a name that say of what it is, and behind it that it is a moment.
_OF = re.compile(
    r"^(?:(?:the|is|was|has|access|api|secret|key|keys|credential|credentials|creds?|token|tokens|pat|service|svc|sa|iam"
    r"|account|user|users|aws|gcp|gcloud|google|entra|azure|github|gitlab|app|application|client|certificate|cert"
    r"|identity|principal|machine|robot|bot|employee|person|staff|member|worker|repo|repository|record|entry) )+(?=\S)"
)
_WHEN = re.compile(r" (?:date|at|on|time|day|datetime|timestamp|utc|gmt|ts|by|iso|epoch)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")

# What words of a name mean, whole, with and without what stands before and behind them.
_WORDS = r"""
used: (?:last |recent |recently |most recent |latest |final )(?:used?|usage|activity|active|seen|access(?:ed)?
  |auth\w*|call|touched|hit|request|connection|invocation|operation|api call|key use)
  |used|seen|last|not used since|idle since
created: creat(?:ed|ion|e)(?: by date)?|issued?|issuance|made|minted|generated|provisioned|added|registered
  |start(?:s|ed)?|begins?|valid (?:from|after)|not before|since|born|birth|set up|uploaded|first seen
  |(?:last )?rotat(?:ed|ion)|(?:last )?renewed|age since
expires: expir(?:es?|y|ation|ing|ed)|ends?|valid (?:until|to|till|through|before)|not (?:after|valid after)
  |until|good (?:until|till|through)|renew(?:al)?|due|lapses?|deadline|best before|end of life|eol
status: status|state|active|enabled|live|lifecycle|condition|standing|in use|works|valid
dead: disabled|inactive|revoked|deactivated|suspended|blocked|deleted|dead|off|retired|paused|frozen
owner: owners?|owned by|owner (?:e ?mail|name|upn|login|contact|user)|responsible(?: person| party)?
  |(?:point of |technical |business )?contact(?: e ?mail| person)?|poc|maintain(?:er|ed by)|custodian|steward
  |accountable|sponsor|in charge|belongs to|held by|holder|assign(?:ee|ed to)|issued to|answers for it
  |managed by|managing person|requested by|requester|created by|creator|made by
console: (?:last |recent |latest )?(?:console|interactive|password|ui|web|browser)(?: last)? (?:sign ?ins?
  |log ?ins?|log ?on|used?|access(?:ed)?|activity|auth\w*)
  |last (?:sign ?in|log ?in|log ?on|signed in|logged in)
account: user ?name|user|iam user|login|log ?in name|principal|principal name|identity|account|account name
  |service user|name|user id|technical user|service account|machine user|robot
app: app(?:lication)?(?: ?(?:name|slug|registration|display name))?|slug|integration|bot|display name|name
  |github app|oauth app
app id: (?:app(?:lication)?|client)(?: \(client\))? id|client|object id|id
secret name: (?:secret|credential|certificate|cert|key)(?: (?:name|description|label|hint|display name|title))
  |description|label|hint
type: type|kind|category|class|flavou?r|sort|(?:token|credential|secret|key) type
publisher: publisher|vendor|developer|made by|provider|author|owner|app owner|owner login|third party|supplier
  |company|by
installed at: account|organi[sz]ation|org|target|installed (?:in|at)|tenant|workspace
selection: repositor(?:y|ies)(?: (?:selection|access|scope))?|repos|selection|repo access|access to|scope
  |coverage|reach
scopes: scopes?|permissions?|rights|privileges
  |(?:granted |requested |effective )?(?:permissions?|scopes?|rights|access)|may|grants?|roles?|abilities
  |allowed
name: (?:token |key |credential |secret |pat )?(?:name|label|title|description|note|comment|purpose|alias|used for)
  |for
last eight: last (?:8|eight)(?: chars?| characters| digits)?|tail|suffix|ends with|ending|token tail|last chars
mail: (?:(?:work|company|business|corporate|office|primary|employee|user|official) )?(?:e ?)?mail(?: address)?
  |upn|user principal name|contact
left: left|leaves|leaving|leaver|departed|departure|departs|exit(?:ed)?|gone|gone since|terminat(?:ed|ion)
  |separat(?:ed|ion)|resign(?:ed|ation)|offboard(?:ed|ing)
  |(?:last|final) (?:working |work |employment |paid |contract )?(?:day|date)(?: of (?:work|employment|service))?
  |last worked
  |employed (?:until|till|to)|employment (?:end(?:ed|s)?|until|to)|end (?:of )?(?:employment|contract|service)
  |contract (?:end(?:s|ed)?|until)|out(?: of company)?(?: since)?|off since|ended|end|until|valid to
  |left company|service end|date of (?:departure|leaving|exit|termination|separation|resignation)|last|final
beside: team|department|dept|unit|division|manager|lead|title|job|job title|role|position|hired?|start|joined
  |location|office|cost cent(?:er|re)|employee(?: id| number| no)?|id|personnel number|staff id|badge|squad
  |tribe|area|function|name|full name|display name|employee name|person|who|staff|worker
login: (?:git ?hub|git ?lab|slack|unix|ldap|vpn)(?: (?:login|user ?name|user|handle|account|name|id))?|login
  |log ?in|handle|user ?name|nick(?:name)?|uid|sam account name|account
repository: repositor(?:y|ies)(?: name)?|repos?(?: name)?|full name|path|project(?: path)?|name(?: with owner)?
  |slug
archived: archived?|is archived|read ?only|frozen|retired|sunset|archival
visibility: visibility|private|is private|public|access|exposure|audience
pushed: (?:last |latest )?(?:push(?:ed)?|commit(?:ted)?|activity|change[ds]?|updated?|touched|modified)
  |last active|(?:push|commit)
"""
_MEANINGS = {
    line.partition(": ")[0]: re.compile(f"(?:{re.sub(chr(10) + '  ', '', line.partition(': ')[2])})")
    for line in re.split(r"\n(?=\S)", _WORDS.strip())
}

_SCOPES = frozenset(
    {
        "repo",
        "workflow",
        "gist",
        "user",
        "notifications",
        "delete_repo",
        "project",
        "codespace",
        "copilot",
        "site_admin",
    }
    | {
        "repo:status",
        "repo_deployment",
        "public_repo",
        "repo:invite",
        "security_events",
        "write:discussion",
        "audit_log",
    }
)
_GITHUB = re.compile(r"(?:admin|read|write|manage|delete|user)[:_][a-z_]+|[a-z_]+:(?:read|write|admin)")
_LEVEL = re.compile(r"([A-Za-z][A-Za-z_ -]{2,40}?)\s*[:=(]\s*(read|write|admin)((?:[ /&-]| and ){1,3}write)?\b", re.I)
_NOT_YET = re.compile(r"(?:never|none|not used|unused|no|-|n/?a|null|nil|0)?", re.I)


def _scoped(text: str) -> bool:
    said = [one for one in re.split(r"[\s,;|]+", text) if one]
    return bool(said) and all(one in _SCOPES or _GITHUB.fullmatch(one) for one in said)


# What a cell is, whatever its column is called.
FORMS: Mapping[str, Callable[[str], bool]] = {
    "aws key": lambda text: bool(re.fullmatch(r"AKIA[A-Z2-7]{16}|AKIA[*x.…]{2,16}[A-Z2-7]{2,6}", text)),
    "google account": lambda text: text.lower().endswith(".gserviceaccount.com") and "@" in text,
    "google key": lambda text: bool(re.fullmatch(r"(?:\S+/keys/)?[0-9a-f]{40}", text)),
    "address": lambda text: bool(re.fullmatch(r"[^\s@<>]+@[^\s@<>]+\.[a-z]{2,}", text, re.I)),
    "guid": lambda text: bool(re.fullmatch(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text, re.I)),
    "day": lambda text: moment(text) is not None,
    "day or none": lambda text: moment(text) is not None or bool(_NOT_YET.fullmatch(text)),
    "reach": lambda text: (
        plain(text) in ("all", "selected", "allrepositories", "selectedrepositories", "onlyselect")
        or bool(
            re.fullmatch(
                r"(?:only )?select(?:ed)?(?: repositor\w+)?.*|all repos\w*|\d+ (?:repos\w*|selected)", text, re.I
            )
        )
    ),
    "levels": lambda text: bool(_LEVEL.search(text)),
    "scopes": _scoped,
    "token kind": lambda text: (
        plain(text) in ("classic", "finegrained", "patclassic", "classicpat", "finegrainedpat", "oauth")
        or "personalaccess" in plain(text)
    ),
    "full name": lambda text: bool(re.fullmatch(r"[\w.-]+/[\w./-]+", text)),
    "switch": lambda text: (
        plain(text) in YES | NO | GONE
        or bool(re.fullmatch(r"active|enabled|live|ok|valid|on|off|in use|expired|revoked|current", text, re.I))
    ),
    "eight": lambda text: bool(re.fullmatch(r"[A-Za-z0-9_-]{8}", text)),
    "short": lambda text: 0 < len(text) < 80 and moment(text) is None,
}


@dataclass(frozen=True, slots=True)
class Part:
    """A meaning that a kind of list may have: how it is told, what it weighs, and what its reader calls it."""

    asks: str  # the name by which the kind's reader asks for it
    weight: int
    means: str = ""  # by the words of its name (_WORDS); "": whatever it is called
    form: str = ""  # what its cells are (FORMS); "": anything
    must: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of list: what it has, how much of it there must be, and who reads a row of it."""

    name: str
    parts: tuple[Part, ...]
    least: int  # the weights of what is there, together
    reader: Callable[[str, Mapping[str, Node], Mark], Iterator[Sighting]]
    certain: bool = True  # whether cells tell it; else it is read where nobody else has read the list
    words: re.Pattern[str] | None = None  # one of which must be in some column's name


Row = Mapping[str, Node]


# --- who reads a row ------------------------------------------------------------------------------------


def _aws_key(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    yield from aws.read_key(path, Node({**row, "status": _works(row)}, row["accesskeyid"].line), mark)
    yield from _aws_user(path, row, mark)


def _aws_user(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    name, signed = row["username"], moment(row.get("console", NOTHING).text)
    facts: dict[str, object] = {"console": True, "console_used": signed} if signed else {}
    yield Principal(f"aws:user/{name.text}", "aws-iam-user", Place(path, name.line), facts)
    if "owner" in row:
        yield from aws.read_tag(path, Node({"username": name, "owner": row["owner"]}, name.line), mark)


def _entra_secret(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    yield from entra.read_secret(path, Node({**row}, row["application"].line), mark)


def _google_key(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    works = _works(row).text == "Active"
    yield from gcp.read_line(path, Node({**row, "disabled": Node(not works, 0)}, row["keyid"].line), mark)
    if owner := row.get("owner", NOTHING).text:
        account = row["serviceaccount"]
        facts = {"owner": owner}
        yield Principal(f"gcp-sa:{account.text}", "gcp-service-account", Place(path, account.line), facts)


def _google_account(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    account, owner = row["account"], row.get("owner", NOTHING).text.strip()
    facts: dict[str, object] = {"suspended": True} if _works(row).text != "Active" else {}
    if owner:
        facts["owner"] = owner
    yield Principal(f"gcp-sa:{account.text}", "gcp-service-account", Place(path, account.line), facts)


def _github_app(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    said, line = row["permissions"], row["app_slug"].line
    texts = [one.text for one in said.list] or [said.text]
    levels = [
        f"{_snake(name)}:{'write' if too else level.lower()}"
        for text in texts
        for name, level, too in _LEVEL.findall(text)
    ]
    selection = row["repository_selection"]
    gone = row.get("dead", NOTHING)
    is_dead = bool(gone.text) and not (plain(gone.text) in NO or _NOT_YET.fullmatch(gone.text))
    members = {
        "app_slug": row["app_slug"],
        "permissions": Node([Node(level, said.line) for level in levels], said.line),
        "repository_selection": Node("all" if plain(selection.text).startswith("all") else "selected", selection.line),
        "suspended_at": Node("yes" if is_dead or (not gone and _works(row).text != "Active") else "", line),
        "account": Node({"login": row.get("account", NOTHING)}, line),
        "app_owner": Node({"login": row.get("publisher", NOTHING)}, line),
    }
    yield from github.read_installation(path, Node(members, line), mark)


def _token(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    works = Node("active" if _works(row).text == "Active" else "revoked", 0)
    yield from tokens.read_token(path, Node({**row, "status": works}, row["name"].line), mark)


def _person(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    if row["email"].text:
        yield from people.read_person(path, Node({**row}, row["email"].line), mark)


def _repository(path: str, row: Row, mark: Mark) -> Iterator[Sighting]:
    yield from repositories.read_repository(path, Node({**row}, row["repository"].line), mark)


def _works(row: Row) -> Node:
    """Return whether what a row is of works, by its state or by a column that says that it does not."""
    said, gone = row.get("status", NOTHING), row.get("dead", NOTHING)
    told = plain(re.split(r"[(:;,/]| - ", said.text[:80])[0])
    is_dead = told in GONE | NO or told in ("revoked", "expired", "deleted", "off", "dead", "retired")
    if gone.text and not (plain(gone.text) in NO or _NOT_YET.fullmatch(gone.text)):
        is_dead = plain(gone.text) in YES | GONE or moment(gone.text) is not None
    return Node("Inactive" if is_dead else "Active", said.line)


def _snake(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


# --- which kinds there are ----------------------------------------------------------------------------------

_LIFE = (
    Part("created", 2, "created", "day"),
    Part("lastused", 2, "used", "day or none"),
    Part("status", 1, "status", "switch"),
    Part("dead", 1, "dead", "day or none"),
)
_OWNER = Part("owner", 2, "owner")
# The first of those whose columns say most reads.
KINDS: tuple[Kind, ...] = (
    Kind(
        "access keys of AWS",
        (
            Part("accesskeyid", 4, "", "aws key", must=True),
            Part("username", 2, "account", "short", must=True),
            Part("console", 2, "console", "day"),
            *_LIFE,
            _OWNER,
        ),
        8,
        _aws_key,
    ),
    Kind(
        "users of AWS",
        (
            Part("username", 2, "account", "short", must=True),
            Part("console", 3, "console", "day or none", must=True),
            Part("owner", 3, "owner", must=True),
            *_LIFE,
        ),
        8,
        _aws_user,
        certain=False,
        words=re.compile(r"\biam|console|\baws|\barn\b|access key"),
    ),
    Kind(
        "secrets of Entra ID's applications",
        (
            Part("application", 2, "app", "short", must=True),
            Part("applicationid", 3, "app id", "guid", must=True),
            Part("enddate", 3, "expires", "day", must=True),
            Part("secretname", 2, "secret name", "short"),
            Part("startdate", 1, "created", "day"),
            Part("type", 1, "type", "short"),
            _OWNER,
        ),
        10,
        _entra_secret,
        words=re.compile(r"secret|credential|cert|password|\bkey"),
    ),
    Kind(
        "keys of service accounts of Google Cloud",
        (
            Part("serviceaccount", 4, "", "google account", must=True),
            Part("keyid", 4, "", "google key", must=True),
            Part("validaftertime", 2, "created", "day"),
            Part("validbeforetime", 2, "expires", "day or none"),
            Part("lastauthenticated", 2, "used", "day or none"),
            Part("keytype", 1, "type", "short"),
            Part("status", 1, "status", "switch"),
            Part("dead", 1, "dead", "switch"),
            _OWNER,
        ),
        10,
        _google_key,
    ),
    Kind(
        "service accounts of Google Cloud",
        (
            Part("account", 4, "", "google account", must=True),
            Part("status", 2, "status", "switch"),
            Part("dead", 2, "dead", "switch"),
            Part("lastused", 1, "used", "day or none"),
            Part("name", 1, "app", "short"),
            Part("owner", 3, "owner"),
        ),
        6,
        _google_account,
    ),
    Kind(
        "installations of GitHub's apps",
        (
            Part("app_slug", 2, "app", "short", must=True),
            Part("permissions", 4, "scopes", "levels", must=True),
            Part("repository_selection", 4, "selection", "reach", must=True),
            Part("account", 1, "installed at", "short"),
            Part("publisher", 1, "publisher", "short"),
            Part("installed", 1, "created", "day"),
            Part("dead", 1, "dead", "day or none"),
            Part("status", 1, "status", "switch"),
        ),
        10,
        _github_app,
    ),
    Kind(
        "tokens",
        (
            Part("name", 1, "name", "short", must=True),
            Part("owner", 3, "owner", "short", must=True),
            Part("expiresat", 3, "expires"),
            Part("scopes", 3, "scopes"),
            Part("createdat", 1, "created", "day"),
            Part("lastusedat", 2, "used", "day or none"),
            Part("tokentype", 1, "type", "short"),
            Part("lasteight", 2, "last eight", "eight"),
            Part("status", 1, "status", "switch"),
            Part("dead", 1, "dead", "day or none"),
        ),
        9,
        _token,
        certain=False,
        words=re.compile(
            r"\b(?:token|pat|api key|key|secret|credential|scope|right|permission)s?\b|\blast (?:eight|8)"
        ),
    ),
    Kind(
        "people",
        (
            Part("email", 3, "mail", "address", must=True),
            Part("lefton", 3, "left", "day", must=True),
            Part("department", 2, "beside", "short", must=True),
            Part("status", 1, "status", "short"),
            Part("login", 1, "login", "short"),
        ),
        8,
        _person,
        certain=False,
    ),
    Kind(
        "repositories",
        (
            Part("repository", 3, "repository", "full name", must=True),
            Part("archived", 3, "archived", "switch", must=True),
            Part("visibility", 2, "visibility", "short"),
            Part("lastpush", 2, "pushed", "day"),
        ),
        8,
        _repository,
        certain=False,
    ),
)
# A column of values is no list of what there is.
_VALUES = re.compile(r"(?:secret (?:access )?key|password|passwd|secret value|token value|private key|secret|value)")


# --- lists ----------------------------------------------------------------------------------------------


def lists(document: Document) -> Iterator[list[Node]]:
    """Yield the lists of a document, each as its entries. A table of like tables is one too, each with its name.

    What has other parts beside, as settings have, is no list.
    """
    if document.format in ("csv", "jsonl"):
        roots = [one for root in document.roots for one in (root.list or (root,))]
        if rows := [one for one in roots if one.items]:
            yield rows
        return
    waiting = [(root, 0) for root in document.roots]
    while waiting:
        node, depth = waiting.pop()
        below = list(node.list or node.items.values())
        nested = [one for one in below if one.items or one.list]
        tables = [one for one in below if one.items]
        if tables and len(tables) == len(below) and (node.list or (len(tables) > 1 and _are_like(tables))):
            named = [
                Node({"name": Node(name, one.line)} | dict(one.items), one.line) for name, one in node.items.items()
            ]
            yield named or tables
        elif depth < DEPTH and (len(nested) == 1 or (len(nested) <= BESIDE and all(_is_list(one) for one in nested))):
            waiting += [(one, depth + 1) for one in reversed(nested)]


def _is_list(node: Node) -> bool:
    return bool(node.list) and all(one.items for one in node.list)


def _are_like(tables: Sequence[Node]) -> bool:
    names = [set(one.items) for one in tables[:SAMPLE]]
    return bool(set.intersection(*names)) and len(set.union(*names)) < 2 * max(map(len, names))


def flat(row: Node) -> Iterator[Node]:
    """Yield an entry as a row; what lies deeper stands under all its names (`key.created`).

    One with a list of tables in it is as many rows.
    """
    members: dict[str, Node] = {}
    several: list[tuple[str, Node]] = []
    waiting = list(reversed([(name, one, 0) for name, one in row.items.items()]))
    while waiting:
        name, node, depth = waiting.pop()
        if node.items:
            if depth < DEPTH:
                waiting += reversed([(f"{name}.{key}", one, depth + 1) for key, one in node.items.items()])
        elif node.list and all(one.items for one in node.list[:1]):
            several.append((name, node))
        elif len(members) < COLUMNS:
            members[name] = node
    if len(several) != 1:
        yield Node(members, row.line)
        return
    name, inner = several[0]
    single = name.removesuffix("s")
    for one in inner.list:
        for row in flat(one):
            yield Node(members | {f"{single}.{key}": node for key, node in row.items.items()}, one.line)


def columns(document: Document) -> tuple[str, ...]:
    """Return the names of the columns of a document that is a table; () where it is none."""
    if document.format not in ("csv", "jsonl", "json", "yaml"):
        return ()
    rows = next(lists(document), [])
    names = tuple(dict.fromkeys(name for one in rows[:SAMPLE] for row in flat(one) for name in row.items))
    return names if (len(rows) > 1 or document.format == "csv") and not _is_of_something_else(names) else ()


# Lists whose entries a standard names, and which are of no accounts: statements of a policy, parameters of an API.
_OF_SOMETHING_ELSE = tuple(
    map(frozenset, (("Effect", "Action"), ("Effect", "NotAction"), ("in", "required", "type"), ("in", "schema")))
)


def _is_of_something_else(names: Sequence[str]) -> bool:
    there = frozenset(names)
    return any(one <= there for one in _OF_SOMETHING_ELSE)


# --- what they are of -------------------------------------------------------------------------------------


_ENGLISH = {"lefton": "left on", "lastused": "last used", "employeeid": "employee id", "jobtitle": "job title"}


@lru_cache(maxsize=8192)
def _said(name: str) -> tuple[frozenset[str], str, str]:
    """Return what a column's name can mean, its words, and the number in it, of which there may be several."""
    name = re.sub(r"(?<=.)[\[(].*", "", name)
    whole, *last = (_words(one) for one in dict.fromkeys((name, name.rpartition(".")[2])))
    number = re.search(r"(?<= )[1-9](?= |$)", whole)
    if number and "last 8" not in whole:
        whole = " ".join(whole[: number.start()].split() + whole[number.end() :].split())
    forms = {whole, *last}
    forms |= {_WHEN.sub("", one) for one in forms}
    forms |= {_OF.sub("", one) for one in forms}
    means = frozenset(
        meaning for meaning, told in _MEANINGS.items() if any(told.fullmatch(one) for one in forms if one)
    )
    return means, whole, number[0] if number and "last 8" not in whole else ""


def _words(name: str) -> str:
    """Return the words of a name, in English where it is known in another language."""
    folded = plain(name)
    if folded in NAMES:
        return _ENGLISH.get(NAMES[folded], NAMES[folded])
    if folded in GONE:
        return "disabled"
    return " ".join(re.split(r"[\W_]+", _CAMEL.sub(" ", name).lower())).strip()


def read_meant(document: Document, mark: Mark, *, certain: bool) -> Iterator[Sighting]:
    """Read the lists of a document by what their columns mean; where it must be `certain`, by what stands in them."""
    for rows in lists(document):
        sample = [row for one in rows[:SAMPLE] for row in flat(one)]
        names = list(dict.fromkeys(name for row in sample for name in row.items))
        if not 1 < len(names) <= COLUMNS or _is_of_something_else(names):
            continue
        cells = {name: [row.items[name] for row in sample if name in row.items] for name in names}
        for slot in _slots(names):
            kind, told = _kind(slot, cells, by_names=not certain, extra=0 if document.format == "csv" else 1)
            if kind and not any(_holds_values(name, cells[name]) for name in names):
                yield from _read(document.path, kind, told, rows, mark)


def _slots(names: Sequence[str]) -> list[list[str]]:
    """Return the columns, for each number that several have (key 1, key 2) those with it and those without any."""
    numbers = sorted({_said(name)[2] for name in names} - {""})
    if len(numbers) < 2:
        return [list(names)]
    return [[name for name in names if _said(name)[2] in ("", number)] for number in numbers]


def _holds_values(name: str, cells: Sequence[Node]) -> bool:
    words = _said(name)[1]
    return bool(_VALUES.fullmatch(words)) and any(
        len(one.text) > 7 and moment(one.text) is None and not FORMS["guid"](one.text) for one in cells
    )


def _kind(
    names: Sequence[str], cells: Mapping[str, Sequence[Node]], *, by_names: bool, extra: int
) -> tuple[Kind | None, Mapping[str, str]]:
    """Return the kind of which columns say most, and which column is what; None where they say too little.

    `extra`: how much more must be said by names alone where it is no table: data of programs are lists too.
    """
    fits = cache(partial(_is, cells))
    meant = frozenset[str]().union(*(_said(name)[0] for name in names))
    best: tuple[int, Kind | None, Mapping[str, str]] = (0, None, {})
    for kind in KINDS:
        if not (kind.certain or by_names) or any(
            one.must and one.means and one.means not in meant for one in kind.parts
        ):
            continue
        if kind.words and not any(kind.words.search(_said(one)[1]) for one in names):
            continue
        sure = [part.form for part in kind.parts if part.must and not part.means]
        if not all(any(fits(form, name) for name in names) for form in sure):
            continue
        told: dict[str, str] = {}
        for part in sorted(kind.parts, key=lambda part: (bool(part.means), not part.must)):
            taken = set(told.values())
            found = [
                name
                for name in names
                if name not in taken
                and (not part.means or part.means in _said(name)[0])
                and (not part.form or fits(part.form, name))
            ]
            if found:
                told[part.asks] = min(found, key=lambda name: (_rank(name, part), names.index(name)))
        if any(part.must and part.asks not in told for part in kind.parts):
            continue
        score = sum(part.weight for part in kind.parts if part.asks in told)
        more = 0 if kind.certain else extra
        if more and any(part.must and _rank(told[part.asks], part) for part in kind.parts if part.means == "left"):
            continue
        if score >= kind.least + more and score > best[0]:
            best = (score, kind, told)
    return best[1], best[2]


_VAGUE = frozenset({"name", "id", "description", "last", "account", "contact", "end", "ends", "ended", "until"}) | {
    *("valid to", "final", "out", "service end")
}


def _rank(name: str, part: Part) -> int:
    """Of several columns that could be meant the one that says so itself comes before those that could be anything."""
    words = _said(name)[1]
    return 1 if part.means and words in _VAGUE else 0


def _is(cells: Mapping[str, Sequence[Node]], form: str, name: str) -> bool:
    """Tell whether the cells of a column are of a form, as far as anything stands in them."""
    texts = [text for one in cells[name] for text in _texts(one) if text]
    if not texts:
        return form in ("day or none", "switch", "day")
    return sum(map(FORMS[form], texts)) >= SAID * len(texts)


def _texts(cell: Node) -> tuple[str, ...]:
    return (" ".join(one.text for one in cell.list),) if cell.list else (cell.text.strip(),)


# Without these a row says nothing; the others may be missing in one.
_FILLED = frozenset(
    {"accesskeyid", "username", "application", "applicationid", "serviceaccount", "keyid", "account"}
) | {*("app_slug", "permissions", "repository_selection", "name", "email", "repository")}
_USED = ("lastused", "lastusedat", "lastauthenticated")


# A type of Azure's resources, of which a token, a key or a secret is one only where it is called so.
_RESOURCE = re.compile(r"Microsoft\.\w+/(?!.*(?:key|secret|token|credential))", re.I)


def _read(path: str, kind: Kind, told: Mapping[str, str], rows: Sequence[Node], mark: Mark) -> Iterator[Sighting]:
    must = {part.asks for part in kind.parts if part.must} & _FILLED
    used = next((one for one in _USED if one in told), "")
    # Where others have a day, nothing says that there was no use.
    is_filled = bool(used) and any(moment(row.at(told[used]).text) for one in rows[:SAMPLE] for row in flat(one))
    for row in (row for one in rows for row in flat(one)):
        members = {asks: row.at(name) for asks, name in told.items() if name in row.items}
        if any(not (members.get(one, NOTHING).text or members.get(one, NOTHING).list) for one in must):
            continue
        if _RESOURCE.match(members.get("tokentype", NOTHING).text):
            continue
        if is_filled and not members.get(used, NOTHING).text:
            members[used] = Node("never", row.line)
        yield from kind.reader(path, members, mark)
