"""Workflows that sign in by OIDC afterwards, with every other line as it was; what is not certain is left alone."""

import difflib
import re

import pytest

from taskbound.core.errors import Conflict
from taskbound.posture.oidc import CLOUDS, patched
from taskbound.posture.parsers import parse
from taskbound.posture.readers import read

ENVIRONMENT = """name: deploy
on: {push: {branches: [main]}}
permissions: {contents: read}
jobs:
  prod:
    runs-on: ubuntu-latest   # mine
    env:
      AWS_ACCESS_KEY_ID: AKIAIL5IQ7XWZ2MFKD3R
      AWS_SECRET_ACCESS_KEY: ${{ secrets.AWS_SECRET_ACCESS_KEY }}
    steps:
      - uses: actions/checkout@910364792dee05891ba1a5e4ea4a3608ed7cb99b # v4
      - run: terraform apply -auto-approve
"""
INPUTS = """on: push
permissions:
  contents: read
jobs:
  sync:
    runs-on: ubuntu-24.04
    permissions:
      # what it needs
      contents: write
    steps:
    - name: cloud login
      uses: aws-actions/configure-aws-credentials@a6630deedd38693c6590173b7e9e82dee19c8a4c
      with:
        aws-access-key-id: ${{ secrets.MIRROR_KEY_ID }}
        aws-secret-access-key: ${{ secrets.MIRROR_KEY }}
        aws-region: eu-north-1
    - run: aws s3 sync . s3://tarn-mirror
"""
GOOGLE = """on: push
jobs:
  a:
    steps:
      - uses: google-github-actions/auth@v2
        with:
          credentials_json: '${{ secrets.GCP_SA_KEY }}'
"""
AZURE = """on: push
permissions: write-all
jobs:
  a:
    steps:
      - uses: azure/login@v2
        with:
          creds: ${{ secrets.AZURE_CREDENTIALS }}
      - run: az group list
"""
NAMED = {cloud: f"{how.action}@{how.commit}  # {how.version}" for cloud, how in CLOUDS.items()}


def changes(text: str) -> tuple[list[str], list[str], tuple[str, ...]]:
    done = patched(".github/workflows/a.yml", text.encode())
    lines = list(difflib.ndiff(text.splitlines(), done.after.decode().splitlines()))
    gone, come = ([one[2:].strip() for one in lines if one[0] == sign] for sign in "-+")
    found = read(parse(".github/workflows/a.yml", done.after), "repo").sightings
    assert not [one for one in found if getattr(one, "case", "") == "static-cloud-key-in-pipeline"]
    return gone, come, done.steps


def test_keys_of_an_environment_become_a_step():
    gone, come, steps = changes(ENVIRONMENT)
    assert gone == [
        "env:",
        "AWS_ACCESS_KEY_ID: AKIAIL5IQ7XWZ2MFKD3R",
        "AWS_SECRET_ACCESS_KEY: ${{ secrets.AWS_SECRET_ACCESS_KEY }}",
    ]
    assert come == [
        "permissions:",
        "contents: read",
        "id-token: write",
        f"- uses: {NAMED['AWS']}",
        "with:",
        "role-to-assume: ${{ vars.AWS_ROLE_TO_ASSUME }}",
        "aws-region: ${{ vars.AWS_REGION }}",
    ]
    assert "gh secret delete AWS_SECRET_ACCESS_KEY" in steps[-1]
    root = parse("a.yml", patched(".github/workflows/a.yml", ENVIRONMENT.encode()).after).roots[0]
    assert root.at("jobs", "prod", "permissions", "id-token").text == "write"
    assert root.at("permissions", "id-token").text == "", "the other jobs of it may not"


def test_inputs_of_the_action_become_a_role():
    gone, come, _ = changes(INPUTS)
    assert [one.partition(":")[0] for one in gone] == ["aws-access-key-id", "aws-secret-access-key"]
    assert come == ["id-token: write", "role-to-assume: ${{ vars.AWS_ROLE_TO_ASSUME }}"]


def test_google_and_azure_likewise():
    gone, come, steps = changes(GOOGLE)
    assert gone == ["credentials_json: '${{ secrets.GCP_SA_KEY }}'"]
    assert "workload_identity_provider: ${{ vars.GCP_WORKLOAD_IDENTITY_PROVIDER }}" in come
    assert "id-token: write" in come and "default permissions" in steps[0]
    gone, come, _ = changes(AZURE)
    assert gone == ["creds: ${{ secrets.AZURE_CREDENTIALS }}"]
    assert [one.partition(":")[0] for one in come] == ["client-id", "tenant-id", "subscription-id"]


@pytest.mark.parametrize(
    ("cloud", "key"),
    [("AWS", "AWS_SECRET_ACCESS_KEY"), ("Google Cloud", "GOOGLE_CREDENTIALS"), ("Azure", "AZURE_CREDENTIALS")],
)
def test_an_action_that_is_written_is_named_by_its_commit_with_the_tag_beside_it(cloud, key):
    """Whoever takes over its owners' account moves a tag: our own rules call one weak."""
    text = f"on: push\njobs:\n  a:\n    env:\n      {key}: ${{{{ secrets.KEY }}}}\n    steps:\n      - run: make\n"
    _, come, _ = changes(text)
    (written,) = [one for one in come if "uses:" in one]
    assert written == f"- uses: {NAMED[cloud]}"
    assert re.fullmatch(r"- uses: [a-z-]+/[a-z-]+@[0-9a-f]{40}  # v[0-9]+\.[0-9]+\.[0-9]+", written), written


def test_line_ends_and_the_region_stay():
    text = ENVIRONMENT.replace("    env:\n", "    env:\n      AWS_REGION: eu-north-1\n").replace("\n", "\r\n")
    after = patched(".github/workflows/a.yml", text.encode()).after
    assert after.count(b"\n") == after.count(b"\r\n")
    assert b"          aws-region: eu-north-1\r\n" in after and b"    env:\r\n      AWS_REGION" in after


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x0c", "\x1c"])
def test_a_line_ends_where_yaml_says_so_and_nowhere_else(sign):
    text = ENVIRONMENT.replace("# mine", f"# mine{sign}and yours")
    gone, come, _ = changes(text.replace(sign, "."))
    done = patched(".github/workflows/a.yml", text.encode()).after.decode()
    assert (
        done.replace(sign, ".") == patched(".github/workflows/a.yml", text.replace(sign, ".").encode()).after.decode()
    )
    assert sign in done and gone and come


def test_a_key_of_the_whole_workflow_is_taken_out_once_and_every_job_signs_in():
    text = ENVIRONMENT.replace("    env:\n      AWS_ACCESS", "    zzz:\n      AWS_ACCESS")
    text = "env:\n  AWS_SECRET_ACCESS_KEY: ${{ secrets.KEY }}\n" + GOOGLE.replace("  a:\n", "  a:\n    name: x\n")
    text += "  b:\n    steps:\n      - run: make\n"
    after = patched(".github/workflows/a.yml", text.encode()).after.decode()
    assert after.count(f"uses: {NAMED['AWS']}") == 2 and after.count("id-token: write") == 2
    assert not after.startswith("env:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    env:\n      AWS_ACCESS_KEY_ID: AKIAIL5IQ7XWZ2MFKD3R\n      AWS_SECRET_ACCESS_KEY: ",
         "    env: {AWS_REGION: a, AWS_SECRET_ACCESS_KEY: "),
        ("permissions: {contents: read}", "permissions: read-all"),
        ("      - uses", "      [{uses"),
        ("AWS_SECRET_ACCESS_KEY: $", "AWS_SECRET_ACCESS_KEY: >\n        $"),
        ("jobs:", "jobs: &x"),
    ],
)  # fmt: skip
def test_what_stands_in_another_form_is_left_alone_with_what_to_do(old, new):
    assert old in ENVIRONMENT
    try:
        after = patched(".github/workflows/a.yml", ENVIRONMENT.replace(old, new).encode()).after
    except Conflict as refused:
        assert "id-token: write" in refused.hint
    else:
        assert b"AWS_SECRET" not in after and b"id-token: write" in after


def test_temporary_keys_stay():
    text = ENVIRONMENT.replace("    steps:", "      AWS_SESSION_TOKEN: ${{ steps.a.outputs.token }}\n    steps:")
    with pytest.raises(Conflict, match="holds no cloud key"):
        patched(".github/workflows/a.yml", text.encode())


def test_what_would_change_more_than_was_meant_is_refused():
    text = "on: push\njobs:\n  a:\n    env:\n      GCP_SA_KEY: ${{ secrets.A }}\n    steps: &same\n      - run: make\n"
    text += "  b:\n    env:\n      GCP_SA_KEY: ${{ secrets.B }}\n    steps: *same\n"
    with pytest.raises(Conflict, match="changing more than was meant"):
        patched(".github/workflows/a.yml", text.encode())
