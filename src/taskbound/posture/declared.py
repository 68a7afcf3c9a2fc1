"""Declared: cases about what a file itself says is weak: NHI number, severity, title, why, next, as in `cases`."""

from collections.abc import Mapping

Row = tuple[int, str, str, str, str]

DECLARED: Mapping[str, Row] = {
    "connection-without-tls": (
        4,
        "high",
        "Connection whose encryption is switched off",
        "The login and all that is sent after it can be read and changed by whoever is on the way.",
        "Let the connection at {path}:{line} ask for TLS and check who answers (sslmode=verify-full or its like).",
    ),
    "certificate-not-verified": (
        4,
        "high",
        "Connection that takes any certificate",
        "Whoever gets between the two is taken for the server, and is handed the credential.",
        "Give the client the right authority's certificate and take the switch out at {path}:{line}.",
    ),
    "service-without-authentication": (
        4,
        "high",
        "Service that lets in whoever reaches it",
        "No credential is asked for: the network is the only wall, and every program behind it is trusted.",
        "Switch authentication on at {path}:{line}, and give each client a login of its own.",
    ),
    "password-sent-in-clear": (
        4,
        "high",
        "Password sent without encryption",
        "Whoever is on the way reads the password, and can use it from then on.",
        "Use the encrypted form of the protocol at {path}:{line}, then change the password.",
    ),
    "token-signature-not-verified": (
        4,
        "high",
        "Token that is believed without a check of who signed it",
        "Anybody can write such a token, and say in it whatever they want to be.",
        "Check signature, algorithm, issuer and audience at {path}:{line}; no code before this one does it for it.",
    ),
    "password-grant": (
        4,
        "high",
        "Password grant",
        "The client holds a user's password, not an authority of its own: OAuth 2.1 has taken this grant out.",
        "Use client credentials between systems and the authorization code with PKCE for people at {path}:{line}.",
    ),
    "implicit-flow": (
        4,
        "medium",
        "Implicit flow",
        "The token comes in the address of a page: it stays in histories and logs, and nothing binds it to who asked.",
        "Use the authorization code with PKCE at {path}:{line} (OAuth 2.1 has taken the implicit flow out).",
    ),
    "pkce-not-required": (
        4,
        "medium",
        "Code flow of a public client without PKCE",
        "Whoever catches the code (another app, a log, a referrer) can make it into a token.",
        "Ask for PKCE with S256 at {path}:{line}.",
    ),
    "owner-role-assigned": (
        5,
        "high",
        "Identity that owns a whole project, subscription or account",
        "Whoever holds its credential can read, change and delete everything in there, rights of others included.",
        "Give it at {path}:{line} the roles that it uses, on the resources that it uses.",
    ),
    "vault-policy-all-paths": (
        5,
        "critical",
        "Secret store policy that opens every path",
        "Whoever holds a token of it can read or exchange every secret that is kept there.",
        "Name the paths and capabilities that are used at {path}:{line}.",
    ),
    "cluster-role-that-can-raise-itself": (
        5,
        "high",
        "Cluster role that can give itself every right, or read every secret",
        "To escalate, bind, impersonate or make tokens is to be an administrator whenever one wants to be.",
        "Name at {path}:{line} the resources (resourceNames) and verbs that it uses, in its own namespace.",
    ),
    "database-login-with-all-rights": (
        5,
        "high",
        "Database login that may do everything",
        "What an injected statement or a misled agent asks for is done: read all, delete all, make logins.",
        "Grant at {path}:{line} what the application uses, on its own database.",
    ),
    "pipeline-runs-code-of-outsiders": (
        6,
        "critical",
        "Pipeline that runs a stranger's code with its own rights",
        (
            "The run has this repository's secrets and tokens, and what it runs was written by whoever opened the"
            " request."
        ),
        "Use pull_request for what builds or runs the code; keep at {path}:{line} only what needs no checkout of it.",
    ),
    "pipeline-takes-text-for-code": (
        6,
        "high",
        "Pipeline that takes a stranger's text for code",
        "What is put into a script before it runs is part of it: a title, or a branch's name, can begin a new command.",
        'Hand it over in env: at {path}:{line} and write "$NAME" in the script: then it stays text.',
    ),
    "lifetime-too-long": (
        7,
        "medium",
        "Credential made to last far too long",
        "A copy of it works all that time, and what nobody must renew is renewed by nobody.",
        "Set hours for tokens and at most 90 days for keys at {path}:{line}.",
    ),
    "credential-made-without-end": (
        7,
        "high",
        "Credential made without an end",
        "Every copy of it works until somebody remembers to revoke it.",
        "Set an end at {path}:{line}, or sign in by federation so that no key is needed.",
    ),
}
