"""Doors: services that ask nobody who they are.

Sources: PostgreSQL "The pg_hba.conf File" and the images' README files (POSTGRES_HOST_AUTH_METHOD,
ALLOW_EMPTY_PASSWORD), redis.conf, MongoDB, Elasticsearch, OpenSearch, Cassandra, Neo4j, Consul, Mosquitto, RabbitMQ,
Jupyter, Docker, kubelet, Argo, Traefik, Jenkins (JCasC), MCP Inspector.
"""

from taskbound.posture.signs.sign import IS, NO, YES, Sign, Spot
from taskbound.posture.signs.where import counts_surely, is_served, is_trial, says

_CASE = "service-without-authentication"
_KNOWN = says(
    r"redis|valkey|mongo|postgres|mysql|maria|rabbit|kafka|elastic|opensearch|mcp|broker|etcd|cassandra"
    r"|influx|minio|nats"
    r"|qdrant|weaviate|milvus|chroma|clickhouse|neo4j|gateway|api|server"
)


def _not_trial(spot: Spot) -> bool:
    return not is_trial(spot)


def _known(spot: Spot) -> bool:
    return is_served(spot) and bool(_KNOWN.search(spot.around + spot.path))


def _consul(spot: Spot) -> bool:
    return bool(says(r"\bacl\b|consul").search(spot.around + spot.path)) and not is_trial(spot)


_OTHER_LOGIN = says(r"passw|_pass\b|\bpwd\b|auth|token|secret|credential|sentinel|\biam\b|rediss|certificate|\bacl\b")
_ANYBODYS = says(r"//(?:[\w.-]*\.)?example\.(?:com|org|net)\b|//[\w.-]*\b(?:your|my|host)[-.]|//<|//\{")


def _without_login(spot: Spot) -> bool:
    """A URL of another machine without a password, where none is handed over beside it either."""
    near = "\n".join((*spot.above.split("\n")[-4:], spot.after[:400]))
    return counts_surely(spot) and not _OTHER_LOGIN.search(near) and not _ANYBODYS.search(spot.line)


def _everybody(spot: Spot) -> bool:
    """A role that lets do something, given to everybody; what is only read is open on purpose, mostly."""
    return not is_trial(spot) and bool(_DOING.search(spot.around))


_DOING = says(
    r"roles/(?:run\.invoker|cloudfunctions\.invoker|owner|editor|iam\.|secretmanager\.|cloudsql\.|pubsub\."
    r"|[\w.]*[aA]dmin\b|[\w.]*(?:objectCreator|writer|dataEditor|user)\b)"
)


def _listens(spot: Spot) -> bool:
    return is_served(spot) and not says(r"auth|verifier|token|middleware").search(spot.above + spot.after)


def _lambda(spot: Spot) -> bool:
    return bool(says(r"function_?url|lambda").search(spot.around)) and not is_trial(spot)


_SOCKET = r"(?:/var)?/run/(?:docker|podman/podman|containerd/containerd|crio/crio)\.sock"
_GIVEN = "gives a container the socket of the container runtime: whoever takes it over is root on that machine"

SIGNS: tuple[Sign, ...] = (
    Sign(
        "docker-socket-mounted",
        rf"{_SOCKET}:/[\w./-]{{1,60}}",
        _GIVEN,
        none=r"(?:unix|npipe|tcp)://" + _SOCKET,
        anchor=rf"{_SOCKET}:/",
    ),
    Sign(
        "docker-socket-mounted",
        rf"(?:\b(?:src|source)=|\bhost_?path[\"']?[ \t]*[:=][ \t]*[\"']?){_SOCKET}",
        _GIVEN,
        only=lambda spot: "mount" in spot.around.lower() or "volume" in spot.around.lower(),
        anchor=rf"(?:=|[pP]ath[\"']?[ \t]{{0,4}}[:=][ \t]{{0,4}}[\"']?){_SOCKET}",
    ),
    Sign(
        _CASE,
        r"\bhost(?:no|gssenc|nogssenc)?(?:ssl)?[ \t]{1,20}\S{1,64}[ \t]{1,20}\S{1,64}[ \t]{1,20}\S{1,64}[ \t]{1,20}"
        r"(?:\d{1,3}(?:\.\d{1,3}){3}[ \t]{1,20})?trust\b",
        "lets in anybody as any role without a password (pg_hba: trust)",
        none=r"\s(?:127\.0\.0\.1/32|::1/128|localhost)\s|^\s*#",
        anchor=r"[ \t]trust\b",
    ),
    Sign(
        _CASE,
        rf"POSTGRES_HOST_AUTH_METHOD{IS}trust\b",
        "lets in anybody as any role without a password",
        only=is_served,
    ),
    Sign(
        _CASE,
        rf"(?:MYSQL_|MARIADB_|REDIS_|VALKEY_)?ALLOW_EMPTY(?:_ROOT)?_PASSWORD{IS}(?:yes|true|1)\b",
        "runs a database without a password",
        only=is_served,
        anchor=r"ALLOW_EMPTY(?:_ROOT)?_PASSWORD",
    ),
    Sign(_CASE, r"\bprotected-mode[\"']?[ \t=:,\"']{1,6}no\b", "runs Redis open to the network", only=is_served),
    Sign(
        _CASE,
        r"\bauthorization[\"']?:[ \t]*[\"']?disabled\b|[ \t\"'\[]--noauth\b|^[ \t]*noauth[ \t]*=[ \t]*true",
        "runs MongoDB without logins",
        only=is_served,
    ),
    Sign(
        _CASE,
        (
            rf"xpack\.security\.enabled{IS}false\b|plugins\.security\.disabled{IS}true\b"
            rf"|DISABLE_SECURITY_PLUGIN{IS}true\b"
        ),
        "runs a search engine without logins",
        only=is_served,
        anchor=r"xpack\.security\.enabled|plugins\.security\.disabled|DISABLE_SECURITY_PLUGIN",
    ),
    Sign(
        _CASE,
        r"\b(?:redis|amqp|mongodb|nats|stomp|mqtt)://[\w-]{1,60}(?:\.[\w-]{1,60}){1,8}(?::\d{2,5})?(?=[/\"'\s,]|$)",
        "opens a store of another machine without a login",
        only=_without_login,
        anchor=r"\b(?:redis|amqp|mongodb|nats|stomp|mqtt)://[\w-]{1,60}\.",
    ),
    Sign(
        _CASE,
        r"\b(?:allUsers|allAuthenticatedUsers)\b",
        "lets everybody do what a role lets do (allUsers)",
        none=r"[=!]=|\bin\s*[(\[]|deny|constraints/",
        only=_everybody,
        anchor=r"\ball(?:Authenticated)?Users\b",
    ),
    Sign(
        _CASE,
        r"^[ \t]{0,12}user[ \t]{1,4}default[ \t]{1,4}on[ \t]{1,4}nopass\b[^\n]{0,80}\+@all\b",
        "lets whoever reaches Redis do everything",
        only=is_served,
        anchor=r"user[ \t]{1,4}default[ \t]{1,4}on[ \t]{1,4}nopass",
    ),
    Sign(_CASE, r"^[ \t]{0,8}PermitEmptyPasswords[ \t]{1,8}yes\b", "lets in by ssh without a password"),
    Sign(
        _CASE,
        r"--client-cert-auth=false\b|--authorization-mode=[\w,]{0,40}AlwaysAllow\b|--insecure-port=[1-9]\d{0,4}\b",
        "takes requests that nobody has signed, as an option says",
        only=is_served,
    ),
    Sign(
        _CASE,
        r"\bacl[ \t]{0,8}(?:=[ \t]{0,4})?\{\s{1,20}enabled[ \t]*=[ \t]*false\b",
        "lets in requests without a token (ACL)",
        only=is_served,
    ),
    Sign(
        _CASE,
        rf"\b(?:AUTH_ROLE_PUBLIC|PUBLIC_ROLE_LIKE|\w{{0,24}}UNAUTHORIZED_ROLE|\w{{0,24}}ANONYMOUS_ROLE){IS}"
        r"(?:admin|owner|editor|alpha|superuser)\b",
        "makes whoever has not signed in an administrator",
        only=is_served,
        anchor=r"(?:AUTH_ROLE_PUBLIC|PUBLIC_ROLE_LIKE|UNAUTHORIZED_ROLE|ANONYMOUS_ROLE)",
    ),
    Sign(
        _CASE,
        r"\[auth\.anonymous\]\s{1,20}(?:[;#]?\w{1,30}[ \t]*=[^\n]{0,60}\s{1,20}){0,3}"
        r"org_role[ \t]*=[ \t]*(?:admin|editor)\b",
        "makes anybody an editor of Grafana",
        only=is_served,
        anchor=r"org_role[ \t]{0,4}=[ \t]{0,4}(?:admin|editor)",
    ),
    Sign(
        _CASE,
        r"\bidentified[ \t]{1,4}by[ \t]{1,4}(?:''|\"\")|<password>[ \t]*</password>|<password[ \t]*/>",
        "makes a login of a database without a password",
        none=r"^\s*(?:--|#)|@'?(?:localhost|127\.0\.0\.1)",
        only=lambda spot: is_served(spot) and (spot.found[0][0] != "<" or "<users" in spot.above + spot.line),
        anchor=r"identified[ \t]{1,4}by[ \t]{1,4}[\"']{2}|<password>[ \t]{0,4}</|<password[ \t]{0,4}/>",
    ),
    Sign(_CASE, r"\bx11vnc\b[^\n]{0,120}[ \t]-nopw\b", "shows a screen to whoever asks (VNC)", only=is_served),
    Sign(_CASE, r"\bapi[\"']?:\s{1,12}insecure:[ \t]*true\b", "serves Traefik's API to whoever asks", only=is_served),
    Sign(
        _CASE,
        r"\b(?:mcp|server|app)\.run(?:_async)?\([^\n)]{0,160}\bhost[ \t]*=[ \t]*[\"']0\.0\.0\.0",
        "serves MCP to the network and asks nobody who they are",
        only=lambda spot: bool(says(r"fastmcp|mcp\.server").search(spot.above)) and _listens(spot),
        anchor=r"\.run(?:_async)?\(",
    ),
    Sign(_CASE, r"\bAllowAllAuthenticator\b", "runs Cassandra without logins", only=is_served),
    Sign(
        _CASE,
        (
            rf"NEO4J_AUTH{IS}none\b|dbms[._]security[._]auth_{{1,2}}enabled{IS}false\b"
            rf"|AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED{IS}true\b"
        ),
        "runs a database without logins",
        only=is_served,
        anchor=r"NEO4J_AUTH|dbms[._]security|AUTHENTICATION_ANONYMOUS",
    ),
    Sign(_CASE, r"^[ \t]*allow_anonymous[ \t]{1,4}true\b", "lets in MQTT clients without a login", only=_not_trial),
    Sign(
        _CASE,
        (
            r"--anonymous-auth[= ]true\b|\banonymous:\s{1,12}enabled:[ \t]*true\b"
            r"|users\.anonymous\.enabled[\"']?:[ \t]*[\"']?true"
        ),
        "lets in requests that nobody has signed",
        only=_not_trial,
    ),
    Sign(_CASE, rf"\bdefault_policy{IS}allow\b", "lets in requests without a token (Consul's ACL)", only=_consul),
    Sign(
        _CASE,
        (
            r"(?:NotebookApp|ServerApp|IdentityProvider)\.(?:token|password)[ \t]*=[ \t]*(?:''|\"\"|\\\"\\\""
            r"|[ \t]*\n|[\"'], )"
        ),
        "runs Jupyter without a token",
        only=is_served,
    ),
    Sign(_CASE, r"tcp://(?:0\.0\.0\.0|\[::\]|):2375\b", "serves the Docker API to the network without a certificate"),
    Sign(
        _CASE,
        rf"(?:disable|skip|no|bypass|without|omit)[-_]?auth(?:entication|n|z)?{IS}{YES}",
        "runs with its authentication switched off",
        only=_not_trial,
    ),
    Sign(
        _CASE,
        r"[ \t\"'\[]--(?:disable-auth(?:entication)?|no-auth(?:entication)?|skip-auth|without-auth"
        r"|enable-skip-login|api\.insecure"
        r"|allow-unauthenticated|auth-mode[= ]server|auth[= ]none)(?:[ \t\"',\n\]]|=true)",
        "runs with its authentication switched off, as an option says",
        only=_not_trial,
        anchor=(
            r"--(?:disable-auth|no-auth|skip-auth|without-auth|enable-skip-login|api\.insecure|allow-unauth"
            r"|auth-mode|auth[= ]none)"
        ),
    ),
    Sign(
        _CASE,
        rf"\b(?:\w{{1,24}}[-_.])?(?:enable|require|use)[-_]?auth(?:entication)?{IS}{NO}"
        rf"|\b(?:\w{{1,24}}[-_.])?auth(?:entication|orization)?[-_.]?(?:enabled|required){IS}{NO}",
        "runs with its authentication switched off",
        only=_known,
        anchor=r"(?:enable|require|use)[-_]?auth|auth(?:entication|orization)?[-_.]?(?:enabled|required)",
    ),
    Sign(
        _CASE,
        r"\bauth(?:entication)?[\"']?:\s{1,16}\{?[ \t]*[\"']?enabled[\"']?:[ \t]*false\b",
        "runs with its authentication switched off (auth.enabled)",
        only=_known,
    ),
    Sign(
        _CASE,
        (
            rf"\b(?:\w{{1,24}}[-_.])?auth(?:entication)?[-_]?(?:mode|type|method|provider|strategy)?{IS}(?:none"
            rf"|anonymous|disabled|unsecured)\b"
        ),
        "runs with its authentication switched off",
        none=r"auth_method\w*[\"']?\s*[:=]\s*[\"']?none.*client|token_endpoint|\b(?:log\w*|console|print\w*)[.(]",
        only=_known,
        anchor=(
            r"auth\w{0,24}[\"'\]]{0,2}[ \t]{0,4}[=:,]{1,2}>?[ \t]{0,4}[\"']?(?:none|anonymous|disabled"
            r"|unsecured)\b"
        ),
    ),
    Sign(_CASE, rf"\bauth(?:orization_)?type{IS}NONE\b", "lets anybody call a function by its URL", only=_lambda),
    Sign(
        _CASE,
        r"AuthorizationStrategy\$Unsecured|authorizationStrategy:[ \t]*[\"']?unsecured|<useSecurity>false",
        "runs Jenkins without logins",
    ),
    Sign(_CASE, rf"\bbind_secret_id{IS}false\b", "signs in to Vault with a role's name alone", only=_not_trial),
    Sign(_CASE, r"\bloopback_users[ \t]*=[ \t]*none\b", "lets the guest of RabbitMQ in from anywhere", only=is_served),
    Sign(
        _CASE,
        rf"GF_AUTH_ANONYMOUS_ORG_ROLE{IS}(?:admin|editor)\b",
        "makes anybody an editor of Grafana",
        only=is_served,
    ),
)
