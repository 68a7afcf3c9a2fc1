"""Everything else: who holds it is told by where it lies, how it lies there by its name."""

import re

from taskbound.posture.document import Document
from taskbound.posture.readers.paths import Paths
from taskbound.posture.readers.reading import Notes, Reading

# Where agents write down what was said and done.
TRANSCRIPTS = Paths(
    (re.compile(rf"(?:^|/)(?:{pattern})", re.I), agent)
    for pattern, agent in (
        (
            r"\.claude/(?:projects|todos|shell-snapshots|file-history|sessions)/.*|\.claude/history\.jsonl$",
            "claude-code",
        ),
        (r"\.codex/(?:sessions|archived_sessions|log)/.*|\.codex/history\.jsonl?$", "codex"),
        (r"\.gemini/tmp/.*", "gemini-cli"),
        (r"\.cursor/(?:projects|chats)/.*", "cursor"),
        (r"\.aider\.(?:chat|input)\.history[^/]*$", "aider"),
        (r"\.specstory/.*", "cursor"),
        (r"goose/sessions/.*", "goose"),
        (r"opencode/(?:storage|log)/.*", "opencode"),
        (r"\.copilot/(?:session-state|history-session-state|logs)/.*", "copilot"),
        (r"\.continue/sessions/.*", "continue"),
        (r"[^/]*(?:saoudrizwan\.claude-dev|roo-cline)/tasks/.*", "cline"),
        (r"\.(?:amazonq|kiro)/.*history.*", "amazon-q"),
        (
            r"(?:[^/]*[._-])?(?:transcript|conversation|chat[_-]history|session[_-]log)s?(?:[._-][^/]*)?\.(?:jsonl?|md|txt|log)$",
            "transcript",
        ),
    )
)
_HISTORY = re.compile(
    r"(?:^|/)(?:\.[\w-]*_?history|\.(?:bash|zsh|sh|psql|mysql|python|node_repl|sqlite|rediscli|irb)_?_?history"
    r"|fish_history|ConsoleHost_history\.txt|\.lesshst|\.viminfo)$"
)
_LOG = re.compile(
    r"\.log(?:\.\d+)?(?:\.gz)?$|(?:^|/)logs?/[^/]+\.(?:jsonl|ndjson|txt|out|json)(?:\.gz)?$|\.(?:jsonl|ndjson)(?:\.gz)?$",
    re.I,
)
# What a person keeps for their own programs.
_PERSONAL = re.compile(
    r"(?:^|/)(?:\.aws/(?:credentials|config)|[._]netrc|\.pgpass|\.my\.cnf|\.ssh/[^/]+|\.kube/config|\.docker/config\.json"
    r"|\.npmrc|\.yarnrc(?:\.yml)?|\.pypirc|\.git-credentials|\.config/(?:gh/hosts\.yml|gcloud/.*|git/credentials|hub)"
    r"|\.azure/.*|\.gem/credentials|\.cargo/credentials(?:\.toml)?|\.m2/settings\.xml|\.terraform\.d/credentials\.tfrc\.json"
    r"|\.terraformrc|\.vault-token|\.s3cfg|\.boto|\.gnupg/.*|\.config/rclone/rclone\.conf|\.gitconfig|\.cdsapirc"
    r"|\.databrickscfg|\.snowsql/config|\.kaggle/kaggle\.json|\.huggingface/token|\.cache/huggingface/token)$"
)
_CONFIG_FORMATS = frozenset(["json", "yaml", "toml", "ini", "dotenv", "xml", "properties", "hcl"])
_CONFIG_NAMES = re.compile(
    r"\.(?:ini|cfg|conf|cnf|properties|toml|ya?ml|json|jsonc|json5|xml|plist|config|settings|rc|reg|ovpn|pgpass|tfrc)$"
    r"|(?:^|/)\.[\w-]+rc$|(?:^|/)(?:[._]netrc|\.git-credentials|\.dockercfg|credentials|kubeconfig|\.htpasswd)$",
    re.I,
)


def spot_of(document: Document) -> str:
    """How a credential lies in a document that no other reader knows."""
    path = document.path
    if path.endswith(".ipynb"):
        return "notebook"
    if _HISTORY.search(path):
        return "history"
    if _LOG.search(path):
        return "log"
    return "config" if document.format in _CONFIG_FORMATS or _CONFIG_NAMES.search(path) else "file"


def transcript_of(path: str) -> str:
    """The agent whose sessions a path holds; "transcript" where it does not say; "" where it holds none."""
    return TRANSCRIPTS.of(path)


def read_transcript(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    notes.hold_all(notes.holder("agent", f"agent:{transcript_of(document.path) or 'transcript'}"), "transcript")
    return notes.reading()


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    spot = spot_of(document)
    personal = spot == "history" or _PERSONAL.search(document.path)
    holder = notes.holder("person", "workstation") if personal else notes.holder("file", "config", notes.file)
    notes.hold_all(holder, spot)
    return notes.reading()
