"""What is found whatever language names are in, whatever program is given a password, and who works with what."""

import json
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.posture.beside import words
from taskbound.posture.detection import Detector
from taskbound.posture.detection.names import kind_of_name
from taskbound.posture.document import Node
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential, Holder, Place, Sighting, Use, Weakness
from tests.posture.planted import mark
from tests.posture.test_findings import cases, days, held, key, only, person

VALUE = "Kx83hfQpLm2zTb"
DETECTOR = Detector(lambda value: value)


def seen(path: str, text: str) -> tuple[Sighting, ...]:
    return scan(path, text.encode(), "shop", Detector(mark), mark).sightings


def found(path: str, text: str) -> int:
    return len([one for one in seen(path, text) if isinstance(one, Credential)])


@pytest.mark.parametrize(
    "line",
    [
        "mysql -h db1 -u app -p{} shop",
        "mysqldump -uroot -p'{}' --all-databases | gzip",
        "mysql -h db1 \\\n  -u app -p{}",
        "sshpass -p {} ssh root@h",
        'sshpass -p"{}" scp a h:',
        "docker login -u app -p {} reg.corp",
        "helm registry login -u app -p {} reg.corp",
        "redis-cli -h cache -a {} ping",
        "valkey-cli -a {}",
        "PGPASSWORD={} psql -h db1",
        "psql postgresql://app:{}@db1.corp/shop",
        "curl -u app:{} https://h.corp",
        "sqlcmd -S db1 -U app -P {} -Q x",
        "mongosh --host h -u app -p {}",
        "ldapsearch -x -D cn=app -w {}",
    ],
)
@pytest.mark.parametrize("path", ["ana/.zsh_history", "bin/backup.sh", ".gitlab-ci.yml"])
def test_a_password_on_a_command_line_is_found(line: str, path: str) -> None:
    text = line.format(VALUE)
    if path.endswith(".yml"):
        text = "dump:\n  script:\n    - |\n" + "".join(f"      {one}\n" for one in text.split("\n"))
    assert found(path, text + "\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "mysql -u app -p shop2Prod9Db",  # asks; what follows is a database
        'mysql -u app -p"$DB_PASS" shop',
        "mysql -P 33060 -h db1",
        "sshpass -e ssh root@h",
        "sshpass -p $(pass show root) ssh h",
        "sshpass -f ~/.pw9XkLm2 ssh h",
        "docker login -u app -p ${REG_TOKEN} reg.corp",
        "docker run -p 8080:8080 app",
        "docker login -u app --password-stdin",
        "redis-cli -h cache -p 6379",
        'redis-cli -a "$REDIS_AUTH"',
        "curl -u $U:$P https://h.corp",
        "mkdir -p /var/Kx83hfQpLm2zTb",
        "mysql is what ssh -p Kx83hfQpLm2zTb is not",
    ],
)
def test_a_port_a_folder_and_a_variable_on_a_command_line_are_none(line: str) -> None:
    assert DETECTOR.in_text(line.encode()) == []


@pytest.mark.parametrize("name", ["db_senha", "Kennwort", "contraseña", "motDePasse", "wachtwoord", "hasło", "heslo"])
def test_a_password_has_its_name_in_many_languages(name: str) -> None:
    assert kind_of_name(name) == "password"
    assert kind_of_name(f"{name}_url") == ""


@pytest.mark.parametrize(("text", "expected"), [("Nelke77.Hafen!", 1), ("Rio-Verde2019", 1), ("HafenMeister", 0),
                                                ("Hafen.Meister", 0), ("${hafen.Pass22}", 0)])  # fmt: skip
def test_a_password_that_a_person_made_of_words(text: str, expected: int) -> None:
    assert found("etc/job.xml", f"<job><user>x</user><password>{text}</password></job>") == expected
    assert found("etc/job.json", f'{{"password": "{text}"}}') == expected


def secret(kind: str, member: str, key_: str, text: str) -> str:
    value = b64encode(text.encode()).decode() if member == "data" else text
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: a, namespace: b}}\n{member}:\n  {key_}: {value}\n"


@pytest.mark.parametrize("member", ["data", "stringData"])
def test_all_of_a_secret_of_kubernetes_is_one_that_a_machine_made(member: str) -> None:
    assert found("k8s/a.yaml", secret("Secret", member, "geheim", VALUE)) == 1
    assert found("k8s/a.yaml", secret("Secret", member, "tajne", VALUE)) == 1
    assert found("k8s/a.yaml", secret("Secret", member, "benutzer", "lager_app")) == 0
    assert found("k8s/a.yaml", secret("Secret", member, "rechner", "Db-01.lager.internal")) == 0
    assert found("k8s/a.yaml", secret("ConfigMap", "data", "geheim", "Kx83hf")) == 0


def test_an_owner_is_named_in_any_language_or_is_the_only_one_with_an_address() -> None:
    mail = Node("rosa@shop.example", 3)
    for name in ("acme.de/verantwortlich", "acme.fr/propriétaire", "acme.fi/omistaja", "acme/qwe"):
        assert words.owner({"acme/cost": Node("44", 2), name: mail}) is mail
    for name in ("acme/approved-by", "acme/alert-email", "acme/previous"):
        assert not words.owner({name: mail})
    assert not words.owner({"acme/a": mail, "acme/b": Node("ida@shop.example", 4)})


TRUST = """Resources:
  Ship:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Statement:
          - Effect: Allow
            Action: sts:AssumeRoleWithWebIdentity
            Principal:
              Federated: {}
            Condition: {}
"""
AUD = '{StringEquals: {"token.actions.githubusercontent.com:aud": sts.amazonaws.com}}'
SUB = (
    '{StringEquals: {"token.actions.githubusercontent.com:aud": sts.amazonaws.com,'
    ' "token.actions.githubusercontent.com:sub": "repo:shop/web:ref:refs/heads/main"}}'
)


@pytest.mark.parametrize(
    "who",
    [
        "!Sub arn:aws:iam::${AWS::AccountId}:oidc-provider/token.actions.githubusercontent.com",
        '{"Fn::Join": [":", ["arn:aws:iam:", {Ref: "A"}, "oidc-provider/token.actions.githubusercontent.com"]]}',
        "!GetAtt GitHubProvider.Arn",
    ],
)
def test_a_trust_by_a_function_of_cloudformation_is_told_where_it_stands(who: str) -> None:
    (told,) = (one for one in seen("a.yaml", TRUST.format(who, AUD)) if isinstance(one, Weakness))
    assert (told.case, told.place.line) == ("oidc-trust-too-wide", 10)
    assert not [one for one in seen("a.yaml", TRUST.format(who, SUB)) if isinstance(one, Weakness)]


SIGNATURE = "raddq4JHYccU17Eufpgaywx1YzIAg7n9DkYj2eIttsc%3D"


@pytest.mark.parametrize(
    ("text", "life"),
    [
        (f"https://a.example/c?sp=r&st=2024-01-09T09%3A00%3A00Z&se=2031-01-09T09%3A00%3A00Z&sig={SIGNATURE}",
         (1704790800, 1925715600)),
        (f"?sp=r&amp;se=2031-01-09&amp;sig={SIGNATURE}", (0, 1925683200)),
        (f"SharedAccessSignature sr=a.example&sig={SIGNATURE}&se=1925683200&skn=send", (0, 1925683200)),
        (f"?sp=r&sig={SIGNATURE}", None),
    ],
)  # fmt: skip
def test_until_when_a_shared_access_signature_works(text: str, life: tuple[int, int] | None) -> None:
    assert [hit.life for hit in DETECTOR.in_text(text.encode())] == [life]


def use(client: str, address: str, minutes: int = 0, by: str = "") -> Use:
    return Use("m", "aws:user/svc-stock", days(1) + timedelta(minutes=minutes), by, Place("trail.jsonl", minutes + 1),
               address, (), client)  # fmt: skip


def test_several_programs_in_networks_apart_with_one_key() -> None:
    case = "one-key-used-by-ci-agent-and-human"
    three = (use("boto3", "192.0.2.1"), use("aws-sdk-go", "198.51.100.7", 4), use("aws-cli", "203.0.113.5", 9))
    assert {place.line for place in only(case, *three).places} == {1, 5, 10}
    assert case not in cases(*three[:2])
    assert case not in cases(*(replace(one, client="boto3") for one in three))
    assert case not in cases(*(replace(one, address="192.0.2.9") for one in three))
    assert case not in cases(*three[:2], replace(three[2], at=days(0)))


def test_a_person_in_a_role_of_a_workload() -> None:
    case = "service-identity-used-by-hand"
    role = "aws:role/orders-web"
    work = Use("", role, days(2), "", Place("t", 1), "10.0.0.2", (), "boto3")
    hand = Use("", role, days(1), "person", Place("t", 2), "192.0.2.1", (), "mozilla", "rosa")
    rosa = person("rosa@shop.example")
    assert only(case, work, hand, rosa).places[0].line == 2
    assert case in cases(replace(hand, principal="aws:role/irsa-orders"), rosa)
    assert case not in cases(hand, rosa)  # nobody else takes it: it is for people
    assert case not in cases(work, replace(hand, session=""), rosa)
    assert case not in cases(work, replace(hand, session="nightly", by=""), rosa)


@pytest.mark.parametrize(
    ("session", "agent", "told"),
    [
        ("rosa", "Mozilla/5.0 (X11)", ("mozilla", "rosa", "person")),
        ("botocore-session-1793264414", "Boto3/1.35", ("boto3", "", "")),
        ("i-0a1b2c3d4e5f", "aws-cli/2.1", ("aws-cli", "", "")),
        ("GitHubActions", "aws-sdk-go-v2/1.3", ("aws-sdk-go-v2", "", "")),
    ],
)
def test_a_trail_tells_the_program_and_who_gave_a_session_its_name(
    session: str, agent: str, told: tuple[str, str, str]
) -> None:
    event = {
        "eventTime": "2031-04-01T10:00:00Z",
        "eventName": "GetObject",
        "userAgent": agent,
        "sourceIPAddress": "192.0.2.7",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": f"arn:aws:sts::1:assumed-role/web/{session}",
            "sessionContext": {"sessionIssuer": {"type": "Role", "userName": "web"}},
        },
    }
    (one,) = (one for one in seen("trail.jsonl", json.dumps(event) + "\n") if isinstance(one, Use))
    assert (one.client, one.session, one.by) == told


def test_a_key_of_a_service_among_a_persons_own() -> None:
    case = "service-key-kept-by-person"

    def at(path: str) -> Credential:
        return replace(held("m", Holder("person", "workstation"), kind="aws-access-token"), place=Place(path, 2))

    assert only(case, at("box/home/rosa/.aws/credentials"), key("svc-stock", mark="m")).places[0].line == 2
    assert case in cases(at(".aws/credentials"), key("svc-stock", mark="m"))
    assert case not in cases(at("home/svc-stock/.aws/credentials"), key("svc-stock", mark="m"))
    assert case not in cases(at("home/rosa/.aws/credentials"), key("rosa", mark="m"), person("rosa@shop.example"))
    assert case not in cases(at("home/rosa/shop/config.ini"), key("svc-stock", mark="m"))
