"""SSH keys that may come in: `authorized_keys`, and every other file that holds lines of it.

Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT: options, key type, base64, comment. The same line stands in cloud-init
(`ssh_authorized_keys`), Ansible (`authorized_key`), Terraform (`public_key`, `ssh-keys`), Butane and ConfigMaps.

Topic `ssh-key`, of `ssh-key:<comment>`: `names` (who it may be of, the likeliest first), `ends` (expiry-time).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from taskbound.posture.document import Document
from taskbound.posture.sighting import Place, Remark

_KEY = re.compile(
    rb"(?:ssh-(?:ed25519|rsa|dss)|ecdsa-sha2-nistp(?:256|384|521)|sk-[\w-]+@openssh\.com)[ \t]+"
    rb"AAAA[A-Za-z0-9+/]{30,}={0,3}"
    rb"(?:[ \t]+(?P<comment>[^\"'\n\\,]{1,200}))?"
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ENDS = re.compile(r'expiry-time="(\d{8})')
_GONE = re.compile(rb"state:[ \t]*[\"']?absent|ensure[ \t]*(?:=>|:)[ \t]*[\"']?absent")
_GOOGLE = re.compile(r'"userName"\s*:\s*"([^"]+)')
_HOME = re.compile(r"(?:^|/)(?:home|users)/([^/]+)/\.ssh/authorized_keys", re.IGNORECASE)
# Files whose name is the person's: keys/jane.pub, authorized_keys.d/jane.
_NAMED = re.compile(
    r"(?:^|/)(?:authorized_keys\.d|ssh[_-]?keys|pubkeys|public[_-]?keys|keys)/([^/]+?)(?:\.(?:pub|keys))?$"
)
# Keys that let nobody in: of hosts, of certificate authorities that were revoked, and a machine's own.
_ELSEWHERE = re.compile(r"known_hosts|revoked|(?:^|/)\.ssh/id_[^/]*\.pub$|ssh_host_|allowed_signers", re.IGNORECASE)


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield each key that is let in, with the names that it may be of."""
    if _ELSEWHERE.search(document.path):
        return
    named = [told[1] for rule in (_HOME, _NAMED) if (told := rule.search(document.path))]
    line, counted = 1, 0
    for found in _KEY.finditer(data):
        line += data.count(b"\n", counted, found.start())
        counted = found.start()
        begins = data.rfind(b"\n", max(0, found.start() - 2000), found.start()) + 1
        before = data[begins : found.start()].decode(errors="replace")
        if before.lstrip(" \t\"'-").startswith(("#", "//", ";")) or _GONE.search(data, begins, found.end() + 300):
            continue
        comment = (found["comment"] or b"").decode(errors="replace").partition(" #")[0].strip()
        names = (*_names(comment, before), *named)
        if names:
            facts: dict[str, object] = {"names": tuple(dict.fromkeys(names))}
            if ends := _ENDS.search(before):
                facts["ends"] = _day(ends[1])
            yield Remark("ssh-key", f"ssh-key:{names[0]}", Place(document.path, line), facts)


def _names(comment: str, before: str) -> Iterator[str]:
    """Yield who a key may be of: an address, who made it on which machine, the user that the line is for."""
    yield from (mail[0].lower() for mail in _MAIL.finditer(comment))
    if google := _GOOGLE.search(comment):
        yield google[1].lower()
    if called := re.match(r"([^\W\d_]{2,})[ ._]([^\W\d_]{2,})\b", comment):
        yield f"{called[1]} {called[2]}"
    first = re.split(r"[\s,;|]", comment, maxsplit=1)[0]
    if re.fullmatch(r"[\w.+-]{3,64}(?:@[\w.-]*)?", first):
        yield first.partition("@")[0]
    if user := re.search(r"(?:^|[\s\"'])([a-z][\w.-]{2,31}):$", before):  # Google's metadata: user:ssh-rsa …
        yield user[1]


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
