"""Cases: everything that a finding may be about, each with its OWASP numbers, severity and what to type next.

NHI numbers are those of the OWASP Non-Human Identities Top 10 2025, ASI those of the Top 10 for Agentic
Applications 2026; which ASI an NHI leads to follows the latter's appendix.
"""

from collections.abc import Mapping
from dataclasses import dataclass

CRITICAL, HIGH, MEDIUM, LOW = "critical", "high", "medium", "low"
SEVERITIES = (CRITICAL, HIGH, MEDIUM, LOW)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of finding. `why` is for a person who has never heard of it; `next` says what to do about it."""

    nhi: int
    severity: str
    title: str
    why: str
    next: str


# What each NHI number leads to in the Agentic Top 10: the appendix of that publication.
ASI: Mapping[int, tuple[str, ...]] = {
    1: ("ASI03",),
    2: ("ASI03",),
    3: ("ASI04",),
    4: ("ASI03",),
    5: ("ASI03",),
    6: ("ASI04", "ASI07"),
    7: ("ASI03",),
    8: ("ASI05", "ASI08"),
    9: ("ASI03",),
    10: ("ASI09",),
}
TITLES: Mapping[int, str] = {
    1: "Improper Offboarding",
    2: "Secret Leakage",
    3: "Vulnerable Third-Party NHI",
    4: "Insecure Authentication",
    5: "Overprivileged NHI",
    6: "Insecure Cloud Deployment Configurations",
    7: "Long-Lived Secrets",
    8: "Environment Isolation",
    9: "NHI Reuse",
    10: "Human Use of NHI",
}

# In `next`: {path} and {line} of the first place, {holder}, {name} (of the variable or the identity), {owner}.
CASES: Mapping[str, Case] = {
    # --- literals (LEAKS) ---------------------------------------------------------------------------
    "literal-secret-in-mcp-config": Case(
        2,
        CRITICAL,
        "Credential written out in an MCP client file",
        "Whoever reads the file, and every tool that the agent starts, has the credential, for as long as it lives.",
        "Make a new one at its issuer, let {path} refer to it (${{{name}}}), then revoke this one.",
    ),
    "secret-in-mcp-argument": Case(
        2,
        HIGH,
        "Credential in the arguments of an MCP server",
        "Arguments are shown to every process of the machine, and stand in its logs, beside lying in this file.",
        "Hand it over in the server's environment as a reference; make a new one at its issuer and revoke this one.",
    ),
    "bearer-in-mcp-header": Case(
        2,
        HIGH,
        "Bearer token written out in the headers of an MCP server",
        "A bearer token works for whoever has read it: nothing binds it to this agent.",
        "Let the header refer to it (Bearer ${{{name}}}), or let the client sign in by OAuth; revoke this token.",
    ),
    "secret-in-mcp-url": Case(
        2,
        HIGH,
        "Credential in the URL of an MCP server",
        "URLs are kept where nobody expects secrets: in logs of proxies and servers, in histories, in error messages.",
        "Send it in a header, from a reference, and make a new one at its issuer: take this one as read by others.",
    ),
    "secret-in-agent-permission-list": Case(
        2,
        HIGH,
        "Credential in the permission list of an agent",
        "A command that was allowed once is kept word for word, with the credential in it, and runs again unasked.",
        "Take line {line} out of {path}, make a new credential at its issuer and revoke this one.",
    ),
    "secret-in-agent-instructions": Case(
        2,
        HIGH,
        "Credential in the instructions of an agent",
        "Instructions go into each prompt: to the model's provider, into transcripts, to whoever makes the agent talk.",
        "Take it out of {path}, give the agent's tool a reference instead, revoke this credential at its issuer.",
    ),
    "secret-in-transcript": Case(
        2,
        HIGH,
        "Credential in the transcript of an agent",
        "What an agent saw stays in its transcript and memory, and is sent along when a session goes on.",
        "Revoke it at its issuer first, then delete {path}.",
    ),
    "literal-secret-in-workflow": Case(
        2,
        CRITICAL,
        "Credential written out in a pipeline",
        "Whoever reads the repository, or a fork or a log of it, can do what the pipeline does.",
        "Put a new one into the pipeline's secret store, refer to it in {path}, revoke this one at its issuer.",
    ),
    "secret-in-compose-file": Case(
        2,
        HIGH,
        "Credential written out in a Compose file",
        "It lies in the repository and in its history, and in the description of every container made from it.",
        "Let {path} refer to it (${{{name}:?}} or secrets:), then make a new one at its issuer and revoke this one.",
    ),
    "password-in-connection-url": Case(
        2,
        HIGH,
        "Password in a connection URL",
        "The URL names the server, the database and the user too: nothing more is needed to go in.",
        "Let {path} refer to the URL (${{{name}:?}}), then change the password of that login.",
    ),
    "k8s-secret-manifest-in-repository": Case(
        2,
        HIGH,
        "Kubernetes Secret with its values in a repository",
        "Base64 hides nothing: the values can be read by whoever reads the repository.",
        "Take the values out (External Secrets, SOPS, Sealed Secrets), make new ones at their issuers, revoke these.",
    ),
    "secret-in-workload-manifest": Case(
        2,
        HIGH,
        "Credential written out in a workload's manifest",
        "It can be read in the repository, and in the cluster by whoever may look at workloads, not only at secrets.",
        "Let it come from a Secret (secretKeyRef), make a new one at its issuer and revoke this one.",
    ),
    "secret-in-terraform-default": Case(
        2,
        CRITICAL,
        "Credential written out in Terraform",
        "It lies in the repository, in each plan and in the state, and infrastructure credentials open the most.",
        "Make the variable sensitive and without a default, hand it over by the environment, revoke this credential.",
    ),
    "secret-in-cloudformation": Case(
        2,
        CRITICAL,
        "Credential written out in a CloudFormation template",
        "It lies in the repository, and in the stack's description for whoever may read that.",
        "Use a dynamic reference ({{{{resolve:secretsmanager:…}}}}), then revoke this credential.",
    ),
    "secret-in-image-build": Case(
        2,
        HIGH,
        "Credential in the build of an image",
        "It stays in the image's layers and history, for everybody who can pull the image.",
        "Use a build secret (RUN --mount=type=secret), build the image anew, revoke this credential.",
    ),
    "dotenv-committed": Case(
        2,
        CRITICAL,
        "Credentials in an environment file",
        "The file was meant for one machine; here it can be read by everybody who has a copy of the folder.",
        "git rm --cached {path}, add it to .gitignore, then make new ones at their issuers and revoke these.",
    ),
    "secret-in-config-file": Case(
        2,
        HIGH,
        "Credential in a configuration file",
        "Whoever reads the file has it, and nobody sees that they do.",
        "Let {path} refer to it, make a new one at its issuer and revoke this one.",
    ),
    "secret-in-notebook": Case(
        2,
        HIGH,
        "Credential in a notebook",
        "Notebooks are passed on, and keep in their outputs what a cell has printed.",
        "Read it from the environment, clear the outputs of {path}, revoke this credential.",
    ),
    "secret-in-log": Case(
        2,
        HIGH,
        "Credential in a log",
        "Logs are read by more people, and kept longer and in more places, than any credential should be.",
        "Revoke it at its issuer, then mend what wrote it at line {line} of {path}.",
    ),
    "secret-in-shell-history": Case(
        2,
        MEDIUM,
        "Credential in a shell's history",
        "Every program that this person starts can read it, agents included.",
        "Revoke it at its issuer, then take line {line} out of {path}.",
    ),
    "secret-in-file": Case(
        2,
        HIGH,
        "Credential in a file",
        "Whoever reads the file has it.",
        "Take it out of {path}, make a new one at its issuer and revoke this one.",
    ),
    # --- MCP servers and agents ---------------------------------------------------------------------
    "unpinned-mcp-package": Case(
        3,
        HIGH,
        "MCP server of no fixed version",
        "Each start runs the newest version: whoever takes over the package runs code here, with this agent's keys.",
        "Name the version at {path}:{line} (package@1.2.3, package==1.2.3).",
    ),
    "mcp-from-mutable-git-branch": Case(
        3,
        HIGH,
        "MCP server from a git branch",
        "A branch moves: whoever can push to it runs code here, with this agent's keys.",
        "Name a commit instead of the branch at {path}:{line}.",
    ),
    "secret-sent-to-third-party-mcp": Case(
        3,
        HIGH,
        "Credential sent to somebody else's MCP server",
        "Whoever runs that server has the credential, and it can be used elsewhere than for this.",
        "Ask whoever runs the server for a credential of their own that opens nothing else; revoke this one.",
    ),
    "image-not-pinned": Case(
        3,
        MEDIUM,
        "Image of no fixed version",
        "A tag moves: tomorrow other code runs under the same name, with the same credentials.",
        "Name the digest at {path}:{line} (image@sha256:…).",
    ),
    "third-party-app-all-repositories-admin": Case(
        3,
        CRITICAL,
        "Third-party app with admin rights on all repositories",
        "Whoever takes over that app, or its maker, owns every repository, those to come included.",
        "In the organisation's settings, under installed GitHub apps, choose repositories for {name}, or suspend it.",
    ),
    "plaintext-http-mcp": Case(
        4,
        HIGH,
        "MCP server reached without encryption",
        "What the agent sends and gets, tokens included, can be read and changed on the way.",
        "Change the URL at {path}:{line} to https.",
    ),
    "remote-mcp-without-auth": Case(
        4,
        MEDIUM,
        "Remote MCP server without authentication",
        "Nothing says who calls: everybody who reaches the address can do what the agent can.",
        "Let the server ask for OAuth, or for a token, and say so at {path}:{line}.",
    ),
    "mcp-filesystem-root": Case(
        5,
        HIGH,
        "MCP server that may read and write all files",
        "What the agent is talked into, it can do to every file: keys, histories, other projects.",
        "Name the one folder that it needs at {path}:{line}.",
    ),
    "all-project-mcp-servers-enabled": Case(
        5,
        MEDIUM,
        "Every MCP server of a project is trusted unseen",
        "Whoever can change the repository starts programs on the machine of everyone who opens it.",
        "Set enableAllProjectMcpServers to false in {path} and name the servers that are meant.",
    ),
    "agent-workflow-write-all": Case(
        5,
        HIGH,
        "Agent in a pipeline that may write everything",
        "What a comment or an issue talks the agent into is done with all rights on the repository.",
        "Say in permissions: at {path}:{line} only what the job needs (contents: read, pull-requests: write).",
    ),
    "agent-runs-without-permission-checks": Case(
        5,
        HIGH,
        "Agent runs with its permission checks switched off",
        "Nobody is asked before it acts, whatever it has read: one planted sentence is enough.",
        "Take the switch out at {path}:{line} and list the tools that are allowed.",
    ),
    "docker-socket-mounted": Case(
        5,
        HIGH,
        "The container runtime's socket is mounted",
        "Whoever controls this container controls the machine, and every credential on it.",
        "Take the mount out at {path}:{line}, or put a proxy before the socket that allows what is needed.",
    ),
    "cluster-admin-to-agent": Case(
        5,
        CRITICAL,
        "Service account with all rights on the cluster",
        "One stolen token, or one misled agent, is the whole cluster with all its secrets.",
        "Bind a Role with the verbs that it uses, in its own namespace, instead of the one at {path}:{line}.",
    ),
    "cluster-admin-to-workload": Case(
        5,
        HIGH,
        "Workload with all rights on the cluster",
        "One stolen token is the whole cluster with all its secrets.",
        "Bind a Role with the verbs that it uses, in its own namespace, instead of the one at {path}:{line}.",
    ),
    "privileged-container": Case(
        5,
        HIGH,
        "Agent in a privileged container",
        "Whoever takes the agent over is root on the machine, with every credential on it.",
        "Take privileged out at {path}:{line} and name the capabilities that are needed, best none.",
    ),
    "agent-workflow-open-to-outsiders": Case(
        6,
        HIGH,
        "Agent in a pipeline that anybody can set off",
        "Who writes a comment or an issue talks to the agent, and it acts with the pipeline's rights and secrets.",
        "Let the job run only for members (author_association, or an input of the action) at {path}:{line}.",
    ),
    "action-not-pinned": Case(
        3,
        MEDIUM,
        "Agent's action of no fixed version",
        "A tag or branch moves: whoever takes over the action runs code here, with this pipeline's secrets.",
        "Name a commit at {path}:{line} (uses: owner/action@<40 digits>).",
    ),
    "iam-star-star": Case(
        5,
        CRITICAL,
        "Policy that allows everything on everything",
        "Whoever holds one key of this identity holds the account.",
        "Write down the actions and resources that it uses at {path}:{line} (IAM Access Analyzer proposes them).",
    ),
    "token-scopes-too-wide": Case(
        5,
        HIGH,
        "Token with far wider scopes than a program needs",
        "It may administer or delete; whoever takes it from a file or from an agent may, too.",
        "Make a fine-grained token or an app for chosen repositories, then delete this one at its issuer.",
    ),
    "oidc-trust-too-wide": Case(
        6,
        HIGH,
        "Role that too many pipelines may assume",
        "Any branch or repository that fits the pattern gets the role, a new one made for it included.",
        "At {path}:{line} compare sub with one repository and one branch or environment, and aud with one value.",
    ),
    "static-cloud-key-in-pipeline": Case(
        6,
        HIGH,
        "Long-lived cloud key in a pipeline",
        "The key works from anywhere and does not end with the job.",
        "Let the job sign in by OIDC (id-token: write, and a role that trusts this repository), then delete the key.",
    ),
    "long-lived-service-account-token": Case(
        7,
        HIGH,
        "Service account token that never ends",
        "A copy of it works until somebody deletes the Secret; workloads get short ones by themselves.",
        "kubectl delete the Secret at {path}:{line}; use projected tokens, or kubectl create token --duration.",
    ),
    # --- one credential, many holders ---------------------------------------------------------------
    "credential-shared-agent-and-ci": Case(
        9,
        CRITICAL,
        "One credential for an agent and a pipeline",
        "A misled agent acts as the pipeline, and afterwards no log tells which of the two it was.",
        "One credential for each: the pipeline by OIDC where its issuer can, the agent for its task; revoke this one.",
    ),
    "credential-shared-agent-and-workload": Case(
        9,
        CRITICAL,
        "One credential for an agent and a running service",
        "A misled agent acts as the service, and it cannot be stopped without stopping the service.",
        "Make a login of its own for the agent, with the rights that it needs, then change this one.",
    ),
    "credential-shared-between-agents": Case(
        9,
        HIGH,
        "One credential for several agents",
        "What one of them does cannot be told from what the others do, nor be stopped alone.",
        "Make one credential for each agent, then revoke this one.",
    ),
    "credential-shared-across-repositories": Case(
        9,
        CRITICAL,
        "One credential in several repositories",
        "It leaks with the weakest of them, and nobody who rotates it knows all the places.",
        "Make one credential for each repository, then revoke this one.",
    ),
    "credential-reused-across-encodings": Case(
        9,
        HIGH,
        "One credential in several encodings",
        "A search for its text finds one place and misses the others: a rotation leaves them behind.",
        "Change all places at once, best to one reference; then revoke this credential.",
    ),
    "service-account-shared-by-workloads": Case(
        9,
        MEDIUM,
        "One service account for several workloads",
        "Each of them has the rights of all, and the audit log shows them as one.",
        "Make a service account for each workload, with the rights that it needs.",
    ),
    "one-key-used-by-ci-agent-and-human": Case(
        9,
        CRITICAL,
        "One key in use by machines of different kinds and people",
        "The log says that the key did it; whether a person, an agent or a pipeline did, nobody can say.",
        "Give each its own identity (OIDC, a role for a session, single sign-on), then delete the key.",
    ),
    "same-credential-in-staging-and-prod": Case(
        8,
        CRITICAL,
        "One credential in production and outside",
        "Whoever gets into the weaker environment is in production.",
        "Make a credential of its own for each environment; then change the one in production.",
    ),
    "research-agent-holds-production-database-password": Case(
        8,
        CRITICAL,
        "Agent outside production that holds a production database's password",
        "What the agent is talked into, it does to production data.",
        "Give the agent a copy without personal data, or a login that reads; then change the production password.",
    ),
    # --- what exported lists say --------------------------------------------------------------------
    "access-key-not-rotated": Case(
        7,
        HIGH,
        "Access key that was not rotated for long",
        "Every copy that was ever made of it still works.",
        "Make a second key, move its users over, then: aws iam update-access-key --user-name {name} --status Inactive",
    ),
    "token-without-expiry": Case(
        7,
        HIGH,
        "Token without an end",
        "Every copy that was ever made of it works until somebody remembers to revoke it.",
        "Make a new one with an end within 90 days, then delete this one at its issuer.",
    ),
    "client-secret-until-2099": Case(
        7,
        HIGH,
        "Client secret that lasts for years",
        "A secret that nobody must renew is renewed by nobody, and a copy of it works all that time.",
        "Use a federated credential, or a certificate of a year; az ad app credential delete --id {name} --key-id …",
    ),
    "identity-of-leaver-still-active": Case(
        1,
        CRITICAL,
        "Identity of somebody who has left is still active",
        "Nobody is there to see what it does, and who left may still hold its keys.",
        "Give it a new owner and new keys, or switch it off; first find out who uses it.",
    ),
    "token-of-leaver-still-used": Case(
        1,
        CRITICAL,
        "Token of somebody who has left is still used",
        "Something works in the name of a person who is not here, with that person's rights.",
        "Make an app or a token of its own for what uses it, then revoke this one and remove the member.",
    ),
    "stale-access-key": Case(
        1,
        HIGH,
        "Key or token that nobody has used for long",
        "Nobody would miss it, and nobody would notice a stranger who uses it.",
        "Switch it off now, delete it in two weeks: aws iam update-access-key --user-name {name} --status Inactive",
    ),
    "never-used-access-key": Case(
        1,
        MEDIUM,
        "Key that was never used",
        "It was made for nothing, and can only be used by somebody who should not.",
        "Delete it: aws iam delete-access-key --user-name {name} --access-key-id …",
    ),
    "no-owner": Case(
        1,
        MEDIUM,
        "Identities without an owner",
        "When something happens to them there is nobody to ask, and nobody who takes them away when they are done.",
        "Find out who made them and write it down: aws iam tag-user --user-name {name} --tags Key=owner,Value=…",
    ),
    "archived-repository-holds-live-credential": Case(
        1,
        HIGH,
        "Archived repository with a credential in it",
        "Nobody works there any more, nobody looks, and archiving has revoked nothing.",
        "Revoke the credentials at their issuers: {path}:{line}.",
    ),
    "console-login-of-service-user": Case(
        10,
        HIGH,
        "A person signs in as a service user",
        "Whatever is done then is logged as the service; and a password, here without need, can be guessed or stolen.",
        "aws iam delete-login-profile --user-name {name}; people come in by single sign-on.",
    ),
    "personal-token-used-by-agent": Case(
        10,
        HIGH,
        "An agent works with a person's token",
        "All that it does is logged as that person's, with all rights that the person has.",
        "Make a GitHub app, or a fine-grained token for what the agent needs, and let {path} refer to it.",
    ),
    "service-key-used-from-workstation": Case(
        10,
        HIGH,
        "A service's key is used from somebody's workstation",
        "The key was copied to a person's machine, and what that person does is logged as the service's.",
        "Ask who it was, delete the key, and give that person a role to assume.",
    ),
}

# By the spot of a credential: the case of a literal that lies there.
LEAKS: Mapping[str, str] = {
    "mcp-env": "literal-secret-in-mcp-config",
    "mcp-argument": "secret-in-mcp-argument",
    "mcp-header": "bearer-in-mcp-header",
    "mcp-url": "secret-in-mcp-url",
    "agent-permission": "secret-in-agent-permission-list",
    "agent-instructions": "secret-in-agent-instructions",
    "transcript": "secret-in-transcript",
    "workflow": "literal-secret-in-workflow",
    "compose": "secret-in-compose-file",
    "k8s-secret": "k8s-secret-manifest-in-repository",
    "k8s-workload": "secret-in-workload-manifest",
    "terraform": "secret-in-terraform-default",
    "cloudformation": "secret-in-cloudformation",
    "image": "secret-in-image-build",
    "dotenv": "dotenv-committed",
    "config": "secret-in-config-file",
    "notebook": "secret-in-notebook",
    "log": "secret-in-log",
    "history": "secret-in-shell-history",
    "file": "secret-in-file",
}
