"""What ordinary repositories are full of and is no credential, and beside each what differs by little and is one."""

from base64 import b64encode, urlsafe_b64encode

import pytest

from taskbound.posture.detection import Detector

DETECTOR = Detector(lambda value: value)
SECRET = "Vt9xQ2mLr7KpZ4wB"  # of the form of nothing
AGE = "age1q9xz7m2k5w4chd8yvgsp3n6l0tjeufarrafuejt0l6n3psgvy8dhc4w5k2"
TWICE = SECRET * 2
WORDS = "harbour-candle-violin-meadow"  # drawn at random, as people are told to
JOHN, JANE = '{"sub":"1234567890","name":"John Doe"}', '{"sub":"svc-reports"}'
DIGEST = "958aff96db2d75d67787d1e634ae70b659de937b"


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def jwt(claims: str) -> str:
    parts = (urlsafe_b64encode(one.encode()).decode().rstrip("=") for one in ('{"alg":"HS256"}', claims))
    return f"{'.'.join(parts)}.Zk3TqW9xLm7RpV2cNfY8sDhG5jB4aKoU6eIwXt1QyMz"


def found(text: str) -> list[str]:
    return [hit.mark for hit in DETECTOR.in_text(text.encode())]


LOOKS_LIKE_ONE: tuple[tuple[str, str, str], ...] = (
    # class, what is silent, what is told
    ("a label, in any language", "'password' => 'Contraseña',", "'password' => 'Contraseña-7xQ2',"),
    ("a label", "password: Användarlösenord", "password: Lösen!9xQ2w"),
    ("a label in letters without case", '"change_password": "รหัสผ่านถูกเปลื่ยนแล้ว."', f'"password": "{SECRET}"'),
    ("a sentence", "'reset_password' => '在下面输入您的Email地址，您将收到邮件。'", "'password' => '密码Kx9!z7Qw'"),
    ("a text in Crowdin's marks", "'password' => 'crwdns4127:0crwdne4127:0',", f"password: 'crwdns4127:{SECRET}'"),
    ("a file as a URL spells it", "[dep-token-x]: /docs/exchange-flow-2031-02-03-%231734.md", f"token: {SECRET}"),
    ("a rule for what is typed", "'password' => 'required|string|max:255',", "'password' => 'max|9Kq!zW7p',"),
    ("a label that code looks up", """<L for="password" :value="$t('Password')" />""", f'password="{SECRET}"'),
    ("filled in by Ruby", 'token = "gems_#{SecureRandom.hex(24)}"', f'token = "gems_{SECRET}"'),
    ("filled in by PHP", """'password' => "barryIsTheBest{$i}",""", """'password' => "barryIsTheBest9!i","""),
    ("words in base64", f"client_secret: {b64('oauth2-proxy-client-secret')}", f"client_secret: {b64(SECRET)}"),
    ("words in base64 without padding", f"secret={b64('reporting+web-client').rstrip('=')}", f"secret={b64(SECRET)}"),
    ("a placeholder in a URL's encoding", 'secret = "test%2Dsecret%2Dkey"', f'secret = "{SECRET}%2D9"'),
    ("a name in a store of secrets", "key: vault/PAY_SERVICE_TOKEN_2", f"api_key: vault/{SECRET}"),
    ("a key of a cache", f'"key": "Linux-node-{DIGEST}"', f'"api_key": "Linux-node-{DIGEST}"'),
    ("a qualified name", '- key: "karpenter.k8s.aws/instance-category"', f'- key: "karpenter.k8s.aws/{SECRET}9kQz3x"'),
    ("a public key beside its id", f'PubKey{{ID: "1", Key: "{TWICE}"}}', f'{{ID: "1", Key: "{TWICE}"}}'),
    ("a search key of a page", f"apiKey: '{DIGEST[:32]}', indexName: 'docs'", f"apiKey: '{DIGEST[:32]}', name: 'docs'"),
    ("an attribute in code", "secret=options.allow_s3_secret_exposure,", f"secret={SECRET},"),
    ("an attribute in a script", "const token = this.$parent.form.Whats360AuthToken;", f"const token = '{SECRET}';"),
    ("a chain in code made small", "a.TOKEN=a.KEY=a.HEX2=a.MAP=void 0;", f"a.TOKEN={SECRET} ;"),
    ("versions that do not fit", '"x/change_pwd": "<2.0.5|>=3,<3.0.3",', '"x/change_pwd": ">9Kq!z|W7p",'),
    ("a package's name", '"@azure/core-util@npm:^1.2.0": # curl', f"curl -u ci:{SECRET} https://x.example"),
    ("words that count", "api_key = 'sk-tracing-123'", f"api_key = 'sk-{SECRET}'"),
    ("words and a row of digits", 'password = "Test123456789"', 'password = "Gert123456789"'),
    ("framed by signs", 'password: "----==>SetR00tPa$$H3r3<==----"', 'password: "SetR00tPa$$H3r3"'),
    ("a hash under its name", f'encrypted_password: "{DIGEST}"', f'password: "{DIGEST}"'),
    ("a hash in a Compose file", f"ADMIN_TOKEN=$$argon2id$$v=19$$m=19456,t=2,p=1$${SECRET}", f"ADMIN_TOKEN={SECRET}"),
    ("what a shell says", '"${API_PASS:?Missing API_PASS}"', f'"${{API_PASS:?{SECRET}}}" PASS={SECRET}'),
    ("words that a shell takes", "PASS=${DB_PASS:-DatabasePassword1234}", f"PASS=${{DB_PASS:-{SECRET}}}"),
    ("a name in many parts", "key: arn:aws:secretsmanager:eu-1:1:secret:pay/prod/db-9QxTfa", f"secret:{SECRET}"),
    ("whom SOPS encrypts for", f"- key: {AGE}", f"- key: {AGE[:40]}X{AGE[41:]}"),
    ("an example of an RFC", f"Basic {b64('s6BhdRkqt3:gX1fBat3bV')}", f"Basic {b64('ci:gX1fBat3bW')}"),
    ("a token of nobody", jwt('{"some":"payload"}'), jwt('{"user_id":7,"role":"admin"}')),
    ("a token from an example", jwt('{"iss":"urn:example:issuer"}'), jwt('{"iss":"https://id.corp.example"}')),
    ("a token of the page that shows tokens", jwt(JOHN), jwt(JANE)),
    ("such a one in base64", f"'{b64(jwt(JOHN))}'", f"'{b64(jwt(JANE))}'"),
    ("a label with JSON's escapes", '"secret": "\\u30b7\\u30fc\\u30af\\u30ec"', f'"secret": "\\u0041{SECRET}"'),
    ("a pointer in code", "gitToken = *h.File.GitRepository.GitToken", f"gitToken = *{SECRET}"),
    ("a captcha's key of a page", f"CAPTCHA_SITE_KEY={TWICE}", f"CAPTCHA_PRIVATE_KEY={TWICE}"),
    ("words in a URL", "https://AccountID:LicenseKey@corp.de/x", f"https://AccountID:{SECRET}@corp.de/x"),
    ("what is yet to be made", "postgresql://umami:generate_me@db:5432/umami", "postgresql://umami:generat3d!me@db:5432/umami"),
    ("a key of a table, in prose", f"- Primary key: `{TWICE}`", f"- Access key: `{DIGEST}`"),
    ("a key that routes", f"| Routing key | {TWICE} |", f"| API key | {DIGEST} |"),
    ("where a list goes on", f"Continuation token: {TWICE}", f"Deploy token: {TWICE}"),
    ("what a test shows", f"sample token: {TWICE}", f'public token: string = "{TWICE}"'),
    ("words in a name of a login", "sftp://batch-report-runner-4@host.corp.de/x", f"https://{SECRET}4kQz@host.corp.de/x"),
    ("a name of a class", "NotificationServicesBean.prefix.ConfigurationPropertyHandler", f"sk-{TWICE}"),
    ("an identifier of capitals", "BSA_DEFAULT_CONNECTION_TIMEOUTS", "BSA" + f"{SECRET}9QmX4v7zTnRk"),
    ("words of a label", "DB_PASSWORD=ask-your-system-administrator", f"DB_PASSWORD={WORDS}"),
    ("words that say what they are", "postgres://a:local-dev-database-password@localhost/x", f"amqp://a:{WORDS}@localhost"),
    ("words that are repeated", "PASSWORD=candle-candle-candle-candle", f"requirepass {WORDS}"),
    ("words under another name", f"secret: {WORDS}", f"passphrase: '{WORDS.replace('-', '_')}'"),
    ("a part of base64", f"x = 'EAAA{TWICE}/kQ=='", f"x = 'EAAA{TWICE}'"),
    ("a token that counts", 'k = "rk_test_' + '1234567890"', 'k = "rk_live_' + f'{SECRET}9QmX4v"'),
)  # fmt: skip


@pytest.mark.parametrize(("what", "harmless", "secret"), LOOKS_LIKE_ONE)
def test_what_looks_like_a_credential_is_silent_and_what_is_one_beside_it_is_told(
    what: str, harmless: str, secret: str
) -> None:
    assert found(harmless) == []
    assert found(secret) != []


def test_what_a_shell_takes_instead_is_the_value_without_its_sign():
    assert found(f"PASS=${{DB_PASS:-{SECRET}}}") == [SECRET]
