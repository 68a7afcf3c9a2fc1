"""Parsers: bytes to a document. The format is told by the name, and by the content where the name says nothing or
something else (a .conf that is JSON).

`parse` raises for no bytes at all, and takes bounded time and memory (the limits are in `tree`). What each format
becomes is told in its own file. What a person wrote is kept: keys and texts as they stand, without the
quotes; what refers to something else is not looked up.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache

from taskbound.posture.document import Document
from taskbound.posture.parsers.csv import read_csv
from taskbound.posture.parsers.dockerfile import read_dockerfile
from taskbound.posture.parsers.dotenv import read_dotenv
from taskbound.posture.parsers.hcl import read_hcl
from taskbound.posture.parsers.ini import read_assigned, read_ini, read_netrc, read_pgpass, read_properties
from taskbound.posture.parsers.json import read_json, read_jsonl, read_log
from taskbound.posture.parsers.text import read_markdown, read_shell, read_text
from taskbound.posture.parsers.toml import read_toml
from taskbound.posture.parsers.tree import MAX_BYTES, MAX_LINES, Tree, Unreadable
from taskbound.posture.parsers.xml import read_xml
from taskbound.posture.parsers.yaml import read_yaml

Reader = Callable[[str, Tree], None]

# What a reader gives is of a format, by which those who come after it tell documents apart.
_READERS: Mapping[str, tuple[Reader, str]] = {
    "json": (read_json, "json"),
    "jsonl": (read_jsonl, "jsonl"),
    "log": (read_log, "jsonl"),
    "yaml": (read_yaml, "yaml"),
    "toml": (read_toml, "toml"),
    "ini": (read_ini, "ini"),
    "assigned": (read_assigned, "ini"),
    "properties": (read_properties, "ini"),
    "netrc": (read_netrc, "ini"),
    "pgpass": (read_pgpass, "ini"),
    "dotenv": (read_dotenv, "dotenv"),
    "hcl": (read_hcl, "hcl"),
    "dockerfile": (read_dockerfile, "dockerfile"),
    "markdown": (read_markdown, "markdown"),
    "csv": (read_csv, "csv"),
    "xml": (read_xml, "xml"),
    "shell": (read_shell, "shell"),
    "text": (read_text, "text"),
}

# Names in lower case, whole or as patterns; the first that fits counts. One with "/" is of the folder as well.
_NAMES: tuple[tuple[str, str], ...] = tuple(
    (pattern, reader)
    for reader, patterns in (
        (
            "json",
            "*.json *.jsonc *.json5 *.code-workspace *.ipynb *.tfstate *.tfstate.backup *.har *.avsc *.webmanifest",
        ),
        ("json", ".dockercfg .dockerconfigjson .claude.json composer.lock .babelrc .jshintrc"),
        ("jsonl", "*.jsonl *.ndjson"),
        ("yaml", "*.yaml *.yml docker-compose* kubeconfig *.kubeconfig .kube/config .clang-format *.sops"),
        ("toml", "*.toml pipfile poetry.lock cargo.lock uv.lock .cargo/credentials .cargo/config"),
        ("dockerfile", "dockerfile dockerfile.* *.dockerfile containerfile containerfile.* *.containerfile"),
        ("shell", ".envrc *.sh *.bash *.zsh *.ksh .bashrc .bash_profile .bash_login .bash_aliases .profile .zshrc"),
        ("shell", ".zshenv .zprofile .zlogin .bash_history .zsh_history .sh_history .history *.history"),
        ("dotenv", ".env .env.* *.env .flaskenv"),
        ("hcl", "*.tf *.tfvars *.hcl *.nomad *.pkr *.tofu"),
        ("netrc", ".netrc _netrc netrc"),
        ("pgpass", ".pgpass pgpass.conf pgpass"),
        ("assigned", ".npmrc npmrc .yarnrc"),
        ("ini", "*.ini *.cfg *.conf *.cnf .pypirc pip.conf .gitconfig .git/config .gitmodules .aws/credentials"),
        ("ini", ".aws/config .s3cfg .boto .my.cnf .editorconfig config_default .ssh/config *.service *.desktop *.inf"),
        ("properties", "*.properties"),
        ("csv", "*.csv *.tsv"),
        ("xml", "*.xml *.config *.csproj *.props *.targets *.plist *.pom *.xsl *.xslt *.svg *.resx *.xhtml"),
        ("markdown", "*.md *.mdx *.mdc *.markdown .cursorrules .windsurfrules .clinerules .goosehints"),
        ("log", "*.log *.log.*"),
        ("text", "*.txt jenkinsfile* *.groovy"),
    )
    for pattern in patterns.split()
)
# The same by what has to be compared: the first place in _NAMES of a whole name, of an ending; what is left is matched.
_WHOLE = {pattern: place for place, (pattern, _) in reversed(list(enumerate(_NAMES))) if "*" not in pattern}
_ENDINGS = {
    pattern[1:]: place
    for place, (pattern, _) in reversed(list(enumerate(_NAMES)))
    if pattern.startswith("*.") and "*" not in pattern[1:]
}
_PATTERNS = [
    (place, pattern)
    for place, (pattern, _) in enumerate(_NAMES)
    if pattern not in _WHOLE and pattern[1:] not in _ENDINGS
]
# What is made from a file, or what a file is made from: the name before it tells the format.
_COPIES: tuple[str, ...] = (
    ".example",
    ".sample",
    ".template",
    ".tmpl",
    ".tpl",
    ".j2",
    ".jinja",
    ".jinja2",
    ".dist",
    ".default",
    ".bak",
)
_COPIES += (".backup", ".orig", ".old", ".erb", ".local", ".gotmpl", ".in", "~")

# What a text is by how it begins. Nothing here is certain: what cannot be read so is read as its name tells.
_LOOKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("jsonl", re.compile(r"\s*\{(?![{%#])[^\n]*\}[ \t]*\n\{[^\n]*\}[ \t]*(?:\n|$)")),
    (
        "json",
        re.compile(
            r"""\s*(?:(?:/\*.*?\*/|//[^\n]*)\s*)*+(?:\{(?!\{)\s*(?:["'}]|//|/\*)|\[\s*(?:[{"\]]|\[[\s"{\[]))""",
            re.DOTALL,
        ),
    ),
    ("xml", re.compile(r"\s*(?:<\?xml\b|<!DOCTYPE\b|<!--|<[A-Za-z][\w:.-]*(?:\s[^<>]*)?>)")),
    ("yaml", re.compile(r"(?:\s*#[^\n]*\n)*+---[ \t]*\n|(?:\s*#[^\n]*\n)*+apiVersion: \w")),
    ("shell", re.compile(r"#!\s*\S*/(?:env\s+)?(?:ba|z|da|k)?sh\b")),
    ("netrc", re.compile(r"\s*machine\s+\S+\s+login\s")),
    ("dotenv", re.compile(r"(?:\s*#[^\n]*\n|\s*\n)*+(?:(?:export )?[A-Z_][A-Z0-9_]*=[^\n]*\n+(?:#[^\n]*\n)*){2}")),
    ("ini", re.compile(r"(?:\s*[#;][^\n]*\n|\s*\n)*+\[[\w .:\"/-]+\][ \t]*\n\s*[\w.-]+\s*[=:]")),
)
# Readers that find no fault in anything: what a text looks like is believed before them.
_FORGIVING = frozenset(("ini", "assigned", "properties", "dotenv", "csv", "shell", "log", "toml", "hcl", "dockerfile"))
_TELLING = frozenset(("json", "jsonl", "xml", "yaml"))  # what looks like these is hardly anything else
# Pages are XML by chance: elements that do not end are no fault of theirs, and nothing in them says who holds what.
_HTML = re.compile(r"\.x?html?\b|\A\s*<(?:!doctype\s+html|html)\b", re.I)
MAX_BEGINNING = 4096  # characters by which a text is known

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def parse(path: str, data: bytes) -> Document:
    """Return the document that a file is; one with a problem where it cannot be read to its end. Raises nothing."""
    text, is_whole = _decoded(data)
    if text is None:
        return Document(path, "text", (), "binary")
    found: list[Document] = []
    name, is_page = asked_of(path)
    for reader in _order(name, _seen(text)):
        found.append(_read(path, text, reader))
        if not found[-1].problem:
            break
    document = found[-1] if not found[-1].problem else found[0]
    if not document.roots and document.problem:
        document = replace(_read(path, text, "text"), problem=document.problem)
    if document.problem and (_HTML.search(text[:MAX_BEGINNING]) if is_page is None else is_page):
        document = replace(document, problem="")
    if not is_whole:
        document = replace(document, problem=f"no more than {MAX_BYTES >> 20} MiB and {MAX_LINES} lines were read")
    return document


def _order(name: str | None, seen: str | None) -> list[str]:
    """Return the readers that are tried until one finds no fault; the first one's fault is told."""
    if name == "xml" and seen != "xml":  # *.config is many things
        name = None
    if seen is None or seen == name:
        return [name or "text"]
    if name is None or name == "text":
        return [seen] if seen in _TELLING and name is None else [seen, "text"]
    if seen not in _TELLING:
        return [name]
    return [seen, name] if name in _FORGIVING else [name, seen]


def _read(path: str, text: str, reader: str) -> Document:
    read, kind = _READERS[reader]
    tree = Tree()
    try:
        read(text, tree)
    except Unreadable as error:
        tree.note(str(error), error.line)
    problem = f"line {tree.problem[0]}: {tree.problem[1]}" if tree.problem else ""
    return Document(path, kind, tuple(tree.roots), problem)


def _decoded(data: bytes) -> tuple[str | None, bool]:
    """Return the text, with line feeds alone, or None where there is none; and whether it is all of it."""
    is_whole, data = len(data) <= MAX_BYTES, data[:MAX_BYTES]
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, "replace")
            break
    else:
        if b"\0" in data[:8192]:
            return None, False
        try:
            text = data.decode() if is_whole else codecs.getincrementaldecoder("utf-8")().decode(data)
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    text = text.replace("\r\n", "\n")
    if text.count("\n") > MAX_LINES:
        is_whole, text = False, "".join(line + "\n" for line in text.split("\n", MAX_LINES)[:MAX_LINES])
    elif not is_whole:
        text = text[: text.rfind("\n") + 1] or text
    return text, is_whole


def asked_of(path: str) -> tuple[str | None, bool | None]:
    """Return all that `parse` asks of a path: what reads files of its name, and whether they are pages; None: not said.

    Bytes at two paths of which the same is told become the same document.
    """
    folders = path.lower().replace("\\", "/").split("/")
    reader = _named(folders[-2] if len(folders) > 1 else None, folders[-1])
    return reader, bool(_HTML.search(path)) if ".htm" in path.lower() else None


@lru_cache(maxsize=4096)
def _named(folder: str | None, name: str) -> str | None:
    """Return the reader for a file of this name."""
    while True:
        places = [_WHOLE[name]] if name in _WHOLE else []
        if folder is not None and (within := f"{folder}/{name}") in _WHOLE:
            places.append(_WHOLE[within])
        places += [_ENDINGS[end] for at, sign in enumerate(name) if sign == "." and (end := name[at:]) in _ENDINGS]
        places += [place for place, pattern in _PATTERNS if fnmatchcase(name, pattern)]
        if places:
            return _NAMES[min(places)][1]
        copy = next((end for end in _COPIES if name.endswith(end) and name != end), None)
        if copy is None:
            return None
        name = name.removesuffix(copy)


def _seen(text: str) -> str | None:
    """Return the reader for what a text looks like."""
    beginning = text[:MAX_BEGINNING]
    return next((reader for reader, looks in _LOOKS if looks.match(beginning)), None)
