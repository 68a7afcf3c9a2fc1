"""Transport: encryption that is switched off, and certificates that nobody looks at.

Sources: libpq "SSL Support"; MySQL Connector/J, .NET and Node options; JDBC for SQL Server; MongoDB and AMQP URIs;
Kafka clients; Node `tls`, Python `ssl`, requests, aiohttp; Go `crypto/tls`; libcurl; options of git, npm,
Vault, Consul and Helm.
"""

import re
from dataclasses import replace

from taskbound.posture.detection.exempt import is_placeholder
from taskbound.posture.readers.words import is_reference
from taskbound.posture.signs.sign import IS, NO, YES, Sign, Spot
from taskbound.posture.signs.where import counts, counts_surely, is_asked_for, is_far, is_trial, says

_STORES = says(
    r"postgres|mysql|maria|mongo|redis|valkey|rabbit|amqp|kafka|database|datasource|\bdb|elastic|opensearch|cassandra"
    r"|mssql|sqlserver|oracle|ldap|nats|mqtt|broker|typeorm|sequelize|jdbc|memcache|clickhouse|cockroach|smtp"
)
_SQL_SERVER = says(r"sqlserver|mssql|data source|initial catalog|trustservercertificate|tedious|:1433|,1433")
_LITERAL = re.compile(r"://([^\s:/@\"']*):([^\s@\"']+)@")


_STARTTLS = says(
    r"start_?tls(?:[-_]?(?:auto|enabled?|required))*[\"']?\s*[:=]\s*[\"']?(?:auto|true|always|required|on|yes)\b"
)


def _of_store(spot: Spot) -> bool:
    """Mail is sent in clear only where it is not encrypted after the greeting either (STARTTLS, RFC 3207)."""
    return bool(_STORES.search(spot.around)) and counts_surely(spot) and not _STARTTLS.search(spot.around)


def _of_sql_server(spot: Spot) -> bool:
    return bool(_SQL_SERVER.search(spot.around)) and counts(spot)


def _not_trial(spot: Spot) -> bool:
    return not is_trial(spot)


def _insecure(spot: Spot) -> bool:
    """`insecure: true` says something of a connection only beside what a connection has."""
    return bool(re.search(r"\btls|\bssl|https://|endpoint|server[\"']?[ \t]*[:=]", spot.around, re.I)) and (
        counts_surely(spot) and not spot.path.endswith((".py", ".go", ".ts", ".js", ".java", ".rs"))
    )


def _calls(spot: Spot) -> bool:
    """Whether gRPC calls another machine: its address is a name and a port, without a scheme."""
    named = _TARGET.findall(spot.line) or _TARGET.findall(spot.around)
    return any("." in one and not re.match(r"127\.|0\.0\.0\.0|localhost", one) for one in named) and not is_trial(spot)


_TARGET = re.compile(r"[\"'`](?:dns:///)?([\w-]+(?:\.[\w-]+)*):\d{2,5}[\"'`]")


def _with_credential(spot: Spot) -> bool:
    return counts(spot) and bool(
        re.search(r"authorization|bearer|token|\s-u\s|--user\b|api[-_]?key|password", spot.line, re.I)
    )


def _literal(spot: Spot) -> bool:
    """A password written out: where only a reference stands it is not said whether it is one that matters."""
    found = _LITERAL.search(spot.line)
    return found is not None and len(found[2]) > 5 and _is_written_out(found[2]) and counts_surely(spot)


def _is_written_out(value: str) -> bool:
    return not (is_reference(value) or is_placeholder(value))


def _remote(spot: Spot) -> bool:
    found = _LITERAL.search(spot.line)
    made_up = found is not None and is_placeholder(found[2])
    return counts_surely(spot) and not made_up and not re.search("proxy", spot.line, re.I)


# Beside the address: a password, as a setting or as an argument, and what encrypts after the greeting or instead.
_PASSWORD = says(
    r"(?:pass(?:word|wd|phrase)?|bind[-_.]?(?:pw|secret|credentials?)|credentials?)[\"'\]]{0,2}[ \t]*(?:=>|:=|[:=,])"
    r"[ \t]*[\"']?(?!(?:null|none|nil|false|true|\"\"|'')?[\"']?[ \t,;]*(?:$|\n))\S"
    r"|[ \t]-w[ \t]|simple_?bind|\.bind\(|authentication=[\"']?simple"
)
_GUARDED = says(
    r"start_?tls|\bgssapi|kerberos|sasl_interactive|[ \t]-ZZ?\b|tls_?config"
    r"|use_?(?:tls|ssl)[\"']?[ \t]*[:=][ \t]*[\"']?(?:true|yes|1)"
)


def _bound(spot: Spot) -> bool:
    """An address of another machine, and a password that goes there."""
    near = _near(spot)
    host = re.search(r"://(?:[^\s/@]*@)?(\[[0-9a-f:]+\]|[\w.-]+)", spot.found[0], re.I)
    return (
        host is not None
        and is_far(host[1])
        and bool(_PASSWORD.search(near))
        and not _GUARDED.search(near)
        and not is_trial(spot)
    )


def _near(spot: Spot) -> str:
    """The lines of one paragraph with the spot: others are of other settings."""
    before, _, after = spot.around.partition(spot.line)
    return f"{before.rpartition(chr(10) * 2)[2]}{spot.line}{after.partition(chr(10) * 2)[0]}"


def _sends(spot: Spot) -> bool:
    return _with_credential(spot) and counts_surely(spot)


_MAIL = says(r"smtp|mail|ldap|imap")
_OFF = "connection-without-tls"
_ANY = "certificate-not-verified"
_CLEAR = "password-sent-in-clear"
_LINE = r"[^\n;|&]"

_SIGNS: tuple[Sign, ...] = (
    # --- encryption ---------------------------------------------------------------------------------
    Sign(_OFF, rf"ssl[-_ ]?mode{IS}(?:disabled?|none)\b", "connects without encryption (sslmode)", only=counts),
    Sign(
        _OFF,
        rf"ssl[-_ ]?mode{IS}(?:allow|prefer(?:red)?)\b",
        "takes a connection without encryption where the other side offers none (sslmode)",
        only=counts,
    ),
    Sign(_OFF, rf"\buse[-_]?(?:ssl|tls){IS}{NO}", "connects without encryption (useSSL)", only=counts),
    Sign(
        _OFF,
        r"[?&;](?:ssl|tls|secure|usetls)=(?:false|0|no|disabled?|preferred)\b",
        "connects without encryption, as its URL says",
        only=counts,
    ),
    Sign(
        _OFF,
        rf"\bencrypt{IS}(?:false|no|optional)\b",
        "connects to SQL Server without encryption (encrypt)",
        only=_of_sql_server,
        anchor=r"encrypt[\"'\]]{0,2}[ \t]{0,4}[=:,][ \t]{0,4}[\"']?(?:false|no|optional)",
    ),
    Sign(
        _OFF,
        rf"\b(?:\w{{1,20}}[-_.])?(?:tls|ssl)[-_]?disabled?{IS}{YES}",
        "serves or connects without encryption (tls_disable)",
        only=_not_trial,
        anchor=r"(?:tls|ssl)[-_]?disable",
    ),
    Sign(_OFF, rf"\bdisable[-_]?(?:tls|ssl){IS}{YES}", "connects without encryption (disable TLS)", only=_not_trial),
    Sign(
        _OFF,
        r"[ \t\"'\[]--(?:skip-ssl|ssl=0|no-tls|disable-tls|tls=false|ssl=false|ssl-mode=(?:disabled|preferred))\b",
        "connects without encryption, as an option says",
        only=counts,
    ),
    Sign(
        _OFF,
        rf"(?:\b|_)(?:ssl|tls)(?:[-_.]?(?:enabled?|required))?{IS}{NO}",
        "connects to a store without encryption (ssl)",
        only=_of_store,
        anchor=(
            r"(?:ssl|tls)[\w.-]{0,12}[\"'\]]{0,2}[ \t]{0,4}[=:]>?[ \t]{0,4}[\"']?(?:false|no|off|0|disabled?"
            r"|none)\b"
        ),
    ),
    Sign(
        _OFF,
        r"\b(?:ssl|tls)[\"']?:\s{1,40}\{?[\"']?enabled[\"']?:[ \t]*false\b",
        "connects to a store without encryption (tls.enabled)",
        only=_of_store,
    ),
    Sign(
        _OFF,
        r"\bgrpc\.WithInsecure\(\)|\binsecure\.NewCredentials\(\)|\bgrpc(?:\.aio)?\.insecure_channel\("
        r"|\b(?:Server|Channel)Credentials\.createInsecure\(\)|\.usePlaintext\(\)",
        "calls another program without encryption (gRPC)",
        only=_calls,
        anchor=r"WithInsecure\(|insecure\.NewCredentials|insecure_channel\(|createInsecure\(|usePlaintext\(",
    ),
    Sign(
        _OFF,
        rf"\b(?:VAULT|BAO|CONSUL_HTTP|NOMAD)_ADDR{IS}http://[\w.-]{{1,100}}",
        "talks to a store of secrets without encryption",
        only=counts_surely,
        anchor=r"(?:VAULT|BAO|CONSUL_HTTP|NOMAD)_ADDR",
    ),
    Sign(
        _OFF,
        rf"security[-_.]?protocol{IS}(?:sasl_)?plaintext\b",
        "talks to Kafka without encryption (security.protocol)",
        only=counts,
    ),
    Sign(
        _OFF,
        rf"(?:xpack\.security\.(?:http|transport)\.ssl\.enabled|plugins\.security\.ssl\.http\.enabled){IS}false\b",
        "serves a search engine without encryption",
        only=_not_trial,
        anchor=r"xpack\.security\.(?:http|transport)\.ssl|plugins\.security\.ssl",
    ),
    Sign(
        _OFF,
        rf"\bssl_?required{IS}none\b",
        "lets people and clients sign in without encryption (sslRequired)",
        only=_not_trial,
    ),
    Sign(
        _OFF,
        r"^[ \t-]{0,20}[\"']?hostnossl[ \t]{1,20}\S",
        "lets in logins without encryption (hostnossl)",
        none=r"\breject\b",
        anchor="hostnossl",
    ),
    # --- certificates -------------------------------------------------------------------------------
    Sign(_ANY, rf"NODE_TLS_REJECT_UNAUTHORIZED{IS}0\b", "takes any certificate (NODE_TLS_REJECT_UNAUTHORIZED=0)"),
    Sign(_ANY, rf"reject[-_]?unauthorized{IS}(?:false|0)\b", "takes any certificate (rejectUnauthorized)", only=counts),
    Sign(
        _ANY,
        rf"strict[-_]?ssl(?:{IS}|[ \t]{{1,4}})(?:false|0)\b",
        "takes any certificate (strict-ssl)",
        anchor=r"strict[-_]?ssl",
    ),
    Sign(
        _ANY,
        rf"\binsecure{IS}true\b",
        "takes any certificate, or needs none (insecure)",
        only=_insecure,
        anchor=r"\binsecure[\"']?[ \t]{0,8}[:=][ \t]{0,4}[\"']?true",
    ),
    Sign(
        _ANY,
        r"\b(?:proxy|grpc|uwsgi)_ssl_verify[ \t]{1,20}off\b|\bSSLProxyVerify[ \t]{1,20}none\b"
        r"|\bSSLProxyCheckPeer(?:CN|Name)[ \t]{1,20}off\b|\bssl[ \t][^\n]{0,80}\bverify[ \t]{1,8}none\b",
        "takes any certificate of the server behind it",
        only=_not_trial,
        anchor=r"_ssl_verify[ \t]{1,20}off|SSLProxyVerify|SSLProxyCheckPeer|verify[ \t]{1,8}none\b",
    ),
    Sign(
        _ANY,
        r"\b(?:get|post|put|patch|delete|request|ws_connect|TCPConnector)\([^\n]{0,160}\bssl[ \t]*=[ \t]*False\b",
        "takes any certificate (ssl=False of aiohttp)",
        only=lambda spot: spot.path.endswith((".py", ".ipynb")) and counts(spot),
        anchor=r"\bssl[ \t]{0,4}=[ \t]{0,4}False\b",
    ),
    Sign(
        _ANY,
        r"\bAutoAddPolicy\(|\bMissingHostKeyPolicy\(\)|\bStrictHostKeyChecking[=: \t\"']{1,6}(?:no|off|false)\b"
        rf"|\bhost_key_checking{IS}(?:false|no|0)\b|\bhostVerifier\W{{1,6}}\(\)[ \t]*=>[ \t]*true",
        "takes any host key: whoever answers is taken for the machine",
        none=r"@(?:localhost|127\.[\d.]+|\[?::1\]?)(?![\w.])",
        only=counts,
        anchor=(
            r"AutoAddPolicy\(|MissingHostKeyPolicy|StrictHostKeyChecking[=: \t\"']{1,6}(?:no|off|false)"
            r"|host_key_checking|hostVerifier"
        ),
    ),
    Sign(
        _ANY,
        r"\bcheckServerTrusted\([^)\n]{0,160}\)[ \t]*(?:throws[ \t]{1,4}\w{1,60}[ \t]*)?\{[ \t]*\}"
        r"|\b(?:setDefault)?(?:set)?HostnameVerifier\([ \t]*\(\w{1,20},[ \t]*\w{1,20}\)[ \t]*->[ \t]*true"
        r"|\bcheckServerIdentity\W{1,6}(?:function[ \t]*)?\(\w{0,20}\)[ \t]*(?:=>)?[ \t]*(?:undefined|null|\{[ \t]*\})",
        "takes any certificate: what should look at it does nothing",
        only=_not_trial,
        anchor=r"checkServerTrusted\(|HostnameVerifier\([ \t]*\(|checkServerIdentity",
    ),
    Sign(
        _ANY,
        r"[,(\s.]verify[ \t]*=[ \t]*False\b",
        "takes any certificate (verify=False)",
        none=r"jwt|jws|jose|decode\(",
        only=lambda spot: spot.path.endswith((".py", ".pyi", ".ipynb", ".sh", ".ini", ".cfg", ".toml")),
    ),
    Sign(
        _ANY,
        rf"(?:verify[-_]?(?:ssl|tls|certs?|certificates?|peer(?:[-_]?name)?|host(?:name)?)"
        rf"|(?:ssl|tls|certs?|certificate|https)[-_.]?verif(?:y|ication)(?:[-_]?(?:peer|cert|mode))?"
        rf"|validate[-_]?certs?"
        rf"|ssl[-_]?validate|check[-_]?hostname|sslverify){IS}{NO}",
        "takes any certificate",
        # To skip it is what is switched off there.
        none=r"(?:skip|disable|ignore)[-_. ]?(?:server)?(?:ssl|tls|https|cert|verif|host|peer)"
        r"|\bgetattr\([ \t]*\w+,[ \t]*[\"']check_hostname",  # what is asked of a context is not set in it
        only=counts,
    ),
    Sign(
        _ANY,
        r"(?:verify_?mode|cert_?req\w{0,12})[\"'\]]{0,2}[ \t]{0,3}[:=,][ \t]{0,3}[\"']?(?:[\w.]{1,40}\.)?CERT_NONE\b"
        r"|\b_create_unverified_context\b",
        "takes any certificate (Python's ssl)",
        anchor=r"\bCERT_NONE\b|\b_create_unverified_context\b",
    ),
    Sign(
        _ANY,
        rf"\b(?:SSL_|TLS_)?VERIFY_NONE\b|verify{IS}verify_none",
        "takes any certificate (verify none)",
        none=r"_NONE[\"']?[ \t]*(?:=>|:)",  # a table of what other libraries call it
        anchor=r"VERIFY_NONE",
    ),
    Sign(_ANY, r"CURLOPT_SSL_VERIFY(?:PEER|HOST)\W{1,12}(?:false|0)\b", "takes any certificate (libcurl)"),
    Sign(
        _ANY,
        rf"(?:insecure[-_]?skip[-_]?(?:tls[-_]?|ssl[-_]?)?verify|(?:skip[-_]?tls|tls[-_]?skip|skip[-_]?ssl"
        rf"|ssl[-_]?skip|"
        rf"skip[-_]?cert(?:ificate)?)[-_]?verif(?:y|ication)(?:[-_]?insecure)?|[a-z]{{2,20}}_skip_verify"
        rf"|insecure[-_]?ssl"
        rf"|allow[-_]?unverified[-_]?ssl|trust[-_ ]?server[-_ ]?certificate|tls[-_]?insecure|ssl[-_]?insecure"
        rf"|(?:tls|ssl)[-_]?(?:allow[-_]?)?invalid[-_]?(?:certificates?|hostnames?|host[-_]?name[-_]?allowed)"
        rf"|GIT_SSL_NO_VERIFY|accept[-_]?invalid[-_]?certs?|(?:trust|allow)[-_]?all[-_]?cert(?:ificate)?s?){IS}{YES}",
        "takes any certificate",
        only=counts,
        anchor=(
            r"skip[-_]?(?:tls[-_]?|ssl[-_]?|cert(?:ificate)?[-_]?)?verif|(?:tls|ssl)[-_]?skip|insecure[-_]?ssl"
            r"|unverified[-_]?ssl|trust[-_ ]?server|(?:tls|ssl)[-_]?insecure|(?:tls"
            r"|ssl)[-_]?(?:allow[-_]?)?invalid|GIT_SSL_NO|invalid[-_]?certs?|all[-_]?cert"
        ),
    ),
    Sign(
        _ANY,
        r"[ \t\"'\[]--(?:insecure-skip-tls-verify|tls-skip-verify|kube-insecure-skip-tls-verify|tls-verify=false"
        r"|no-verify-ssl|insecure-registry|skip-tls-verify)\b",
        "takes any certificate, as an option says",
        none=r"skip-(?:tls-)?verify[=\s]+false",
        only=counts,
    ),
    Sign(_ANY, rf"PYTHONHTTPSVERIFY{IS}0\b", "takes any certificate (PYTHONHTTPSVERIFY=0)"),
    Sign(_ANY, r"[?&](?:tls|ssl)=skip-verify\b", "takes any certificate, as its URL says", only=counts),
    Sign(
        _ANY,
        rf"\bcurl\b{_LINE}{{0,200}}[ \t](?:--insecure|-[a-jl-z]{{0,6}}k[a-z]{{0,4}})[ \t]",
        "sends a credential to whoever answers (curl -k)",
        only=_with_credential,
        anchor=r"\bcurl[ \t]",
    ),
    Sign(
        _ANY,
        r"\b(?:wget|Invoke-(?:WebRequest|RestMethod)|iwr|irm)\b[^\n;|&]{0,240}[ \t](?:--no-check-certificate"
        r"|-SkipCertificateCheck)\b",
        "sends a credential to whoever answers",
        only=lambda spot: counts(spot) and bool(re.search(r"header|auth|token|password|cred", spot.line, re.I)),
        anchor=r"--no-check-certificate|-SkipCertificateCheck",
    ),
    Sign(
        _ANY,
        r"NoopHostnameVerifier|TrustAllStrategy|AllowAllHostnameVerifier|DangerousAcceptAnyServerCertificateValidator"
        r"|danger_accept_invalid_(?:certs|hostnames)\(true|InsecureIgnoreHostKey\("
        r"|Server(?:Certificate)?(?:Custom)?ValidationCallback[^\n]{0,80}=>[ \t]*true",
        "takes any certificate or host key",
        anchor=(
            r"NoopHostnameVerifier|TrustAllStrategy|AllowAllHostnameVerifier|DangerousAcceptAny"
            r"|danger_accept_invalid|InsecureIgnoreHostKey|ValidationCallback"
        ),
    ),
    # --- passwords ----------------------------------------------------------------------------------
    Sign(
        _CLEAR,
        r"\bhttp://[\w.%+~-]{1,64}:[^\s/?@\"']{1,128}@[\w.-]{1,100}",
        "sends a password by plain HTTP",
        only=_remote,
        anchor=r"\bhttp://[\w.%+~-]{1,24}:[^\s/@\"'\d]",
    ),
    Sign(
        _CLEAR,
        r"\b(?:redis|amqp|mqtt|nats|ldap|stomp|ftp)://[\w.%+~-]{0,64}:[^\s/@\"']{1,128}@[\w.-]{1,100}",
        "sends a password without encryption",
        only=_literal,
        anchor=r"\b(?:redis|amqp|mqtt|nats|ldap|stomp|ftp)://",
    ),
    Sign(
        _CLEAR,
        r"\b(?:ldap|mqtt|ftp|stomp)://[\w.${}:-]{1,100}",
        "sends the password beside it without encryption",
        only=_bound,
        anchor=r"\b(?:ldap|mqtt|ftp|stomp)://\w",
    ),
    Sign(
        _CLEAR,
        r"start_?tls(?:[-_.]?(?:enabled?|required|policy))?" + IS + NO,
        "lets a password be sent before anything is encrypted (STARTTLS)",
        only=lambda spot: counts_surely(spot) and bool(_MAIL.search(spot.around) and _PASSWORD.search(spot.around)),
        anchor=r"start_?tls",
    ),
    Sign(
        _CLEAR,
        rf"\bcurl\b{_LINE}{{0,300}}[ \t\"']http://(?!localhost|127\.|\[)[\w.-]{{1,100}}",
        "sends a credential by plain HTTP (curl)",
        only=_sends,
        anchor=r"\bcurl[ \t]",
    ),
    Sign(
        _CLEAR,
        (
            r"\b(?:host|hostnossl)[ \t]{1,20}\S{1,64}[ \t]{1,20}\S{1,64}[ \t]{1,20}\S{1,64}[ \t]{1,20}(?:\S{1,40}["
            r" \t]{1,20})?password\b"
        ),
        "lets logins send their password in clear (pg_hba: password)",
        none=r"127\.0\.0\.1|::1|localhost",
        anchor=r"[ \t]password[ \t\r]*$",
    ),
)


def _by_itself(sign: Sign) -> Sign:
    """Return a sign that does not count where code does so only for who asks for it."""
    return replace(sign, only=lambda spot: not is_asked_for(spot) and sign.only(spot))


SIGNS: tuple[Sign, ...] = tuple(_by_itself(one) if one.case == _ANY else one for one in _SIGNS)
