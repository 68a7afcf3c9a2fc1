"""What looks like a secret and is none: references, placeholders, digests, paths. Each is a question about a value."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import log2


def entropy(value: str) -> float:
    """Return Shannon's entropy of the characters of `value`, in bits for each."""
    size = len(value)
    return -sum(count / size * log2(count / size) for count in Counter(value).values()) if size else 0.0


# A value that says where the secret is instead of being it. Anything that a template, shell or manager fills in.
_REFERENCE = re.compile(
    r"""
      ^\$\w+$ | \$\{ | \{[A-Za-z_][\w.!:\[\]]*\} | \$\( | \{\{ | ^\{[\w.\s:-]+\}$ | ^<[^>]*>?$ | ^%[\w.]+%$ | %\(
    | taskbound://[a-z0-9] | ^@[\w.]+@?$ | ^\#\{ | ^`
    | ^!(?:Ref|Sub|GetAtt|ImportValue|Join|FindInMap|vault|secret|env|reference|include|file)\b
    | ^(?:op|vault|secrets?|env|file|ssm|sm|kms|awssm|aws-sm|gcpsm|gcp-sm|azkv|akv|keyring|keychain|keyvault|bws|pass
        |doppler|infisical|secretsmanager|secretmanager|parameterstore|secretref|ref\+\w+|age|sops|config|var|data|local
        |module|ssm-secure|dynamic|resolve)(?::|://)
    | ^(?:var|local|module|data|each|self|this|process\.env|env|os\.environ|secrets|vars|inputs|params|config|settings
        |values|github|matrix|steps|needs|terraform|path|random_\w+|aws_\w+|azurerm_\w+|google_\w+|kubernetes_\w+)
        [.\[][\w.\[\]"'*$-]+$
    | \#\{[^{}]*\} | \{\$\w[^{}]*\} | <%=
    | ^arn:aws | ^urn: | ^\$\w+/ | ^projects/[^/]+/secrets/ | ^ENC[\[(]
    | ^[{\[]\s*\\{0,3}["'].*[}\]]$ | ^\[[^\]]*\]\(
    | ^\{cipher\} | ^\{[A-Za-z0-9+/]{20,}={0,2}\}$
    | ^\{(?:S?SHA\d*|S?MD5|CRYPT|bcrypt|pbkdf2)\} | ^vault:v\d | ^AgA[A-Za-z0-9+/=]{200}
    | ^\$ANSIBLE_VAULT | ^\${1,2}\d\w?\$ | ^\${1,2}argon2 | ^pbkdf2[_:$] | ^bcrypt | ^scrypt: | ^sha\d*: | ^\*{3}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PATH = re.compile(
    r"^(?:~|\.{1,2})?/[\w.@+-]+(?:/[\w.@+-]*)+$|^[A-Za-z]:\\|^(?:\.{1,2}|~)/|^[\w.-]+/[\w./-]+\.\w{1,5}$"
)
_FILE = re.compile(
    r"^[\w./\\@%-]+\.(?:pem|key|crt|cer|pub|json|ya?ml|txt|env|cfg|conf|ini|toml|py|js|ts|go|rb|md|sh|jks|p12|pfx|log|xml|html?)$",
    re.I,
)
_ADDRESS = re.compile(
    r"^(?:https?|wss?|tcp|udp|ftp|s3|gs|file|git|ssh|docker|oci)://[^\s:@]*(?::\d+)?(?:[/?#]\S*)?$"
    r"|^(?:classpath\*?|jar|nested|resource|res|asset|pkg|mailto|cid|about):\S*$",
    re.I,
)
_ENV_NAME = re.compile(
    r"^(?:[\w.@-]+[/:#])*[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$"
)  # alone, or at the end of a path of a store
_CODE = re.compile(
    r"^[*&!]?[A-Za-z_]+\d{0,2}(?:(?:\.|->|::)[A-Za-z_]+\d{0,2})+(?:\(.*)?$|^[A-Za-z_$][\w.]*\([^)]*\)?[;,]?$|^[A-Za-z_]+\["
    r"|^[A-Za-z_$][\w$]*(?:\.[\w$]+)+=[^=]"  # a.b=a.c=…: of code that was made small
    r"|^[a-z_]+(?::[\w,.]+)?(?:\|[a-z_]+(?::[\w,.]+)?)+$"  # required|string|max:255: a rule for what is typed
    r"|^[a-z_]+(?:\d{1,2}_[a-z_]+)*\d{0,2}(?:\.[a-z_]+(?:\d{1,2}_[a-z_]+)*\d{0,2}(?:\[(?:\d{1,3}|[a-z_.]+)\])?)+$"
    r"|^[\w.-]+(?:,(?:type|uid|gid|mode|target)=[\w./-]+)+$"  # a secret of Podman, by name
    r"|^\$?\w+::\w|^(?:[a-z_]\w*\.)+[A-Z][A-Z\d]*(?:_[A-Z\d]+)+$"  # a package of Perl, a constant of a module
)
_UUID = re.compile(r"^\{?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\}?$", re.I)
_DIGEST = re.compile(r"(?:^|[:@=-])(?:sha-?(?:1|224|256|384|512)|md5|blake[23]\w?|h1)[-:=@][0-9a-f+/=]{16,}", re.I)
_RANGE = re.compile(r"[<>=~^!][<>=~^!|,.\d\s*-]*$")  # of versions: >=3,<3.0.3|^4
# A random one (RFC 9562, version 4): that is how Keycloak, Heroku, Scaleway, npm and many others make secrets too.
_RANDOM_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)
# The header of a JWT that was cut off.
_HEADER_ALONE = re.compile(r"^eyJ(?:hbGciO|0eXAiO|raWQiO|jdHkiO|lbmMiO)[\w-]{0,200}={0,2}$")
_TIME = re.compile(r"^\d{4}-\d\d-\d\d(?:[T ]\S*)?$|^\d+(?:\.\d+)*(?:ms|s|m|h|d)?$|^v?\d+(?:\.\d+){1,3}(?:[-+]\S*)?$")

_AGE = re.compile(r"age1[02-9ac-hj-np-z]{58}")  # a recipient, as SOPS lists them
# How the DER of a public key begins in base64: P-256, P-384, Ed25519, RSA of 1024, 2048 and 4096 bits.
_PUBLIC_KEYS = ("MFkwEwYHKoZI", "MHYwEAYHKoZI", "MCowBQYDK2V", "MIGfMA0GCSqG", "MIIBIjANBgkq", "MIICIjANBgkq")

# What people write where a secret will be. Counted as one when nothing else is left.
_WORDS = (
    "anonymous anoncvs pserver "
    "passwords passwort password passwd passphrase pass pwd pw secrets secret tokens token apikey accesskey "
    "keys key api access auth authorization bearer credentials credential creds cred client account private "
    "public session cookie jwt oauth csrf signing encryption encrypted encrypt master main root admin "
    "administrator superuser user username usr login name my your our the a an is here this that goes and or "
    "of for to in on with not none null nil undefined changeme change changed changeit it me please default "
    "defaults example examples sample samples demo dummy fake mock test testing tests tester dev develop "
    "development prod production stage staging local localhost secure insecure insert replace enter put set "
    "add fill provide use get type todo tbd fixme placeholder redacted removed hidden masked value values "
    "string text data some any foo bar baz qux hello world long random generated super very strong simple "
    "temporary temp tmp guest postgres postgresql mysql mariadb mongo mongodb redis rabbit rabbitmq sqlserver "
    "oracle database db sql app application service server system web site host company org project team "
    "docker container github gitlab google azure aws amazon openai anthropic slack stripe notion minio "
    "license licence serial number generate generated account "
    "keycloak grafana elastic kibana airflow django flask rails spring keystore truststore xxx yyy zzz abc "
    "xyz key1 new old empty unknown required optional true false yes no n letmein welcome qwerty monkey "
    "dragon sa wordpress wp drupal magento openshift k8s kubernetes kube ci cd bot agent model chat llm "
    "github_token ref id"
)
WORDS = frozenset(_WORDS.split())
_MADE_OF_WORDS = re.compile(
    r"(?:(?>"
    + "|".join(sorted(WORDS, key=lambda one: (-len(one), one)))
    + r")[-_ .:/@!?*#]*+)++(?:\d{0,4}|12345\d{0,5})[!.?*#]{0,3}",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"""
      x{4,} | X{4,} | \*{3,} | \.{3,} | \?{3,} | _{4,} | -{6,} | 0{8,} | 1{8,} | a{8,}
    | (?i:your[-_ ]?\w | change[-_ ]?(?:me|this|it) | replace[-_ ]?(?:me|this|with) | place[-_]?holder | example
        | (?<![a-z])(?:dummy|fake|redacted|sample|todo|insert)(?![a-z]) | (?:insert|enter|put|goes|add)[-_ ].{0,40}here
        | not[-_ ]?a?[-_ ]?(?:real|secret|valid) | this[-_ ]is[-_ ] | lorem
        | my[-_](?:secret|super|pass|token|api|key) | supersecret
        | abcdefghijkl | 1234567890?ab | 0123456789 | qwertyuiop | deadbeef | cafebabe | foobar | s3cr3t | changeit)
    | ^crwdns\d+:\d.*crwdne\d+:\d+$  # Crowdin's marks around a text
    | ^[a-z]{3,12}[-_]me$ | ^<.*>$ | ^\[.*\]$ | ^[-=<>#~]{4,}.*[-=<>#~]{4,}$
    """,
    re.VERBOSE,
)
# Parts that no issuer puts into a token: what marks a token of documentation.
_MADE_UP = re.compile(
    r"""
      (?i:x{6,}|example|your[-_]|placeholder|redacted|dummy|abcdefghijk|123456789abcdef|1234567890abcdef)
    | \*{4,} | \.{4,} | ([^A/])\1{7,} | (?!AA|//)(..)\2{5,} | (?!AAA|///)(...)\3{4,}
    | -([0-9a-f]{4})-\4-\4- | (?!AAAA|////)(.{4,16}?)\5{2,} | ^(?:[a-z]{1,16}[-_.]){4,}[a-z]{1,16}$
    """,
    re.VERBOSE,
)
_ALL_ALIKE = re.compile(
    r"A{8,}|/{8,}"
)  # bytes of no bit, or all, in base64: in tokens that hold numbers there are some

# Published, to be copied: by AWS, jwt.io, Stripe, Azure's storage and Cosmos emulators, MinIO's public server,
# reCAPTCHA; by RFC 5849 (OAuth 1.0), 6749, 6750, 7009 and 7662.
_PUBLISHED = frozenset(
    {
        "AKIAIOSFODNN7EXAMPLE",
        "AKIAI44QH8DHBEXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ"
        ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "sk_test_BQokikJOvBiI2HlWgH4olfQ2",
        "zuf+tfteSlswRu7BJ86wekitnifILbZam1KYY3TG",
        "Q3AM3UQ867SPQQA43P2F",
        "6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe",
        *("dpf43f3p2l4k3l03", "kd94hf93k423kf44", "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00", "9djdj82h48djs9d2"),
        *("kkk9d7dh3k39sjv7", "j49sk3j29djd", "dh893hdasih9", "jd83jd92dhsh93js", "gX1fBat3bV", "h480djs93hd8"),
        *("7Fjfp0ZBr1KtDRbnfVdmIw", "2YotnFZFEjr1zCsicMWpAA", "tGzv3JOkF0XG5Qx2TlKWIA", "SplxlOBeZQQYbYS6WxSbIA"),
        *("i1WsRn1uB1", "mF_9.B5f-4.1JqM", "45ghiukldjahdnhzdauz"),
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==",
    }
)


def is_made_up(value: str) -> bool:
    """Say whether a token of a known form is one of documentation: published, or filled with a pattern."""
    alike = sum(map(len, _ALL_ALIKE.findall(value)))
    return value in _PUBLISHED or bool(_MADE_UP.search(value)) or 2 * alike > len(value)


def is_reference(value: str) -> bool:
    """Say whether `value` points to a secret, or is an address, a path, a name or code rather than a value."""
    return any(one.search(value) for one in (_REFERENCE, _PATH, _FILE, _ADDRESS, _ENV_NAME, _CODE))


def is_placeholder(value: str) -> bool:
    """Say whether `value` stands where a secret will be: words for it, one pattern, a published example."""
    return is_made_up(value) or bool(_PLACEHOLDER.search(value)) or bool(_MADE_OF_WORDS.fullmatch(value[:96]))


def is_public(value: str) -> bool:
    """Say whether `value` is of a kind that opens nothing: UUIDs, digests that say so, times, versions, public keys."""
    return (
        any(one.search(value) for one in (_UUID, _DIGEST, _TIME, _HEADER_ALONE))
        or bool(_RANGE.match(value))
        or value.startswith(("ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-", "-----BEGIN PUBLIC", "-----BEGIN CERT"))
        or value.startswith(_PUBLIC_KEYS)
        or bool(_AGE.fullmatch(value))
    )


def is_random_uuid(value: str) -> bool:
    """Say whether `value` is a UUID of random bits alone: an identifier or a secret, as its name says."""
    return bool(_RANDOM_UUID.fullmatch(value)) and entropy(value) >= 3.0


def has_word(value: str, words: tuple[str, ...]) -> bool:
    """Say whether one of the (lower-case) words stands in `value`."""
    size, beginnings = _by_beginning(words)
    lower = value.lower()
    return any(
        lower.startswith(beginnings.get(lower[at : at + size], ()), at) for at in range(max(0, len(lower) - size + 1))
    )


@lru_cache(maxsize=8)
def _by_beginning(words: tuple[str, ...]) -> tuple[int, Mapping[str, tuple[str, ...]]]:
    """Return words by how they begin, and the length of that: of a thousand words few begin as some place does."""
    size, found = min(map(len, words)), dict[str, tuple[str, ...]]()
    for word in words:
        found[word[:size]] = (*found.get(word[:size], ()), word)
    return size, found
