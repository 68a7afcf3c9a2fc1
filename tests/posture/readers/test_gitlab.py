"""GitLab CI and other systems that run jobs."""

import pytest

from tests.posture.readers.made import cases, held, principals, reading

KEY = "AKIA" + "Q7ZK2VW4LX5TN6RB"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (".gitlab-ci.yml", ".gitlab-ci.yml"),
        ("ci/deploy.gitlab-ci.yml", "deploy.gitlab-ci.yml"),
        (".circleci/config.yml", ".circleci/config.yml"),
        ("azure-pipelines.yml", "azure-pipelines.yml"),
        ("bitbucket-pipelines.yml", "bitbucket-pipelines.yml"),
        ("buildspec.yml", "buildspec.yml"),
    ],
)
def test_a_pipeline_holds_what_is_in_it(path, name):
    holding = held(reading(path, {"variables": {"A": "b"}}), "variables", "A")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == ("pipeline", f"ci:{name}@shop", "workflow")


def test_a_job_s_environment_is_told():
    root = {"deploy": {"environment": {"name": "production"}, "script": ["x"]}, "variables": {"A": "b"}}
    found = reading(".gitlab-ci.yml", root)
    assert held(found, "deploy", "variables", "A").holder.environment == "production"
    assert held(found, "variables", "A").holder.environment == ""


def test_agents_in_scripts():
    root = {"fix": {"script": ["npm ci", "claude -p fix --dangerously-skip-permissions"]}}
    assert cases(".gitlab-ci.yml", root) == ["agent-runs-without-permission-checks"]
    (found,) = principals(reading(".gitlab-ci.yml", root), "ci-workflow")
    assert found.facts["agents"] == ("claude",)
    assert cases(".gitlab-ci.yml", {"fix": {"script": ["claude -p fix", "terraform apply -auto-approve"]}}) == []


@pytest.mark.parametrize(
    "root",
    [
        {"variables": {"AWS_ACCESS_KEY_ID": KEY}},
        {"variables": {"AWS_ACCESS_KEY_ID": {"value": KEY, "description": "x"}}},
        {"deploy": {"variables": {"AWS_SECRET_ACCESS_KEY": "$DEPLOY_KEY"}, "script": ["x"]}},
        {"jobs": [{"variables": [{"name": "AWS_ACCESS_KEY_ID", "value": KEY}]}]},
    ],
)
def test_a_key_that_never_ends(root):
    path = "azure-pipelines.yml" if "jobs" in root else ".gitlab-ci.yml"
    assert cases(path, root) == ["static-cloud-key-in-pipeline"]


@pytest.mark.parametrize(
    "root",
    [
        {"variables": {"AWS_ACCESS_KEY_ID": "minio"}},
        {"variables": {"AWS_REGION": "eu-central-1"}},
        {"deploy": {"id_tokens": {"T": {"aud": "https://gitlab.com"}}, "script": ["x"]}},
    ],
)
def test_no_key_that_never_ends(root):
    assert cases(".gitlab-ci.yml", root) == []


def test_images_of_agents():
    assert cases(".gitlab-ci.yml", {"fix": {"image": "acme/coding-agent:latest", "script": ["x"]}}) == [
        "image-not-pinned"
    ]
    assert cases(".gitlab-ci.yml", {"fix": {"image": {"name": "acme/coding-agent"}, "script": ["x"]}}) == [
        "image-not-pinned"
    ]
    assert cases(".gitlab-ci.yml", {"fix": {"image": "acme/coding-agent:1.2.3", "script": ["x"]}}) == []
    assert cases(".gitlab-ci.yml", {"fix": {"image": "node:latest", "script": ["x"]}}) == []
    assert cases(".gitlab-ci.yml", {"fix": {"image": "$IMAGE", "script": ["x"]}}) == []
