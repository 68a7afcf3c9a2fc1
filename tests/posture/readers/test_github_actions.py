"""GitHub Actions: what an agent may do there, who can set it off, and keys of clouds that never end."""

from typing import Any

import pytest

from tests.posture.readers.made import cases, document, held, principals, reading, weaknesses

PATH = ".github/workflows/a.yml"
CLAUDE = {"uses": "anthropics/claude-code-action@" + "0" * 40, "with": {"prompt": "review"}}
KEY = "AKIA" + "Q7ZK2VW4LX5TN6RB"
UNASKED = "agent-runs-without-permission-checks"


def workflow(*steps: Any, on: Any = "push", job: Any = None, **more: Any) -> dict[str, Any]:
    return {"on": on} | more | {"jobs": {"a": {"runs-on": "x"} | (job or {}) | {"steps": list(steps)}}}


def test_a_workflow_holds_what_is_in_it():
    root = workflow({"run": "x", "env": {"A": "b"}}, job={"environment": {"name": "production"}})
    holding = held(reading(PATH, root), "jobs", "a", "steps", "0", "env", "A")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == ("pipeline", "ci:a.yml@shop", "workflow")
    assert holding.holder.environment == "production"
    assert held(reading(PATH, root), "env").holder.environment == ""


def test_a_workflow_is_known_by_its_content_too():
    assert held(reading("ci/build.yml", workflow({"run": "x"})), "jobs").spot == "workflow"
    assert held(reading("ci/build.yml", {"jobs": {"a": {"schedule": "x"}}}), "jobs").spot == "config"


def test_what_a_workflow_runs_is_told():
    (found,) = principals(reading(PATH, workflow(CLAUDE, on={"issue_comment": {"types": ["created"]}})), "ci-workflow")
    assert found.id == "ci:a.yml@shop"
    assert found.facts["agents"] == ("anthropics/claude-code-action",)
    assert found.facts["triggers"] == ("issue_comment",)


def test_an_agent_with_a_token_for_everything():
    made = document(PATH, workflow(CLAUDE, permissions="write-all"))
    (found,) = weaknesses(reading(PATH, workflow(CLAUDE, permissions="write-all")))
    assert (found.case, found.subject) == ("agent-workflow-write-all", "ci:a.yml@shop")
    assert found.place.line == made.roots[0].at("permissions").line
    assert cases(PATH, workflow(CLAUDE, job={"permissions": "write-all"})) == ["agent-workflow-write-all"]
    assert cases(PATH, workflow({"run": "codex exec 'fix it'"}, permissions="write-all")) == [
        "agent-workflow-write-all"
    ]


def test_a_token_for_everything_without_an_agent():
    assert cases(PATH, workflow({"run": "make"}, permissions="write-all")) == ["workflow-write-all"]
    assert cases(PATH, workflow({"run": "make"}, job={"permissions": "write-all"})) == ["workflow-write-all"]


def test_what_others_can_push_to():
    def job(**of):
        return {"on": "push", "jobs": {"a": of}}

    for uses in ("other/ci/.github/workflows/x.yml@main", "other/ci/.github/workflows/x.yml@refs/heads/release"):
        assert cases(PATH, job(uses=uses)) == ["pipeline-include-not-pinned"]
    tagged = "other/ci/.github/workflows/x.yml@v2"
    assert cases(PATH, job(uses=tagged, secrets="inherit")) == ["pipeline-include-not-pinned"]
    assert cases(PATH, job(uses=tagged)) == []
    assert cases(PATH, job(uses="./.github/workflows/x.yml", secrets="inherit")) == []
    assert cases(PATH, job(uses=f"other/ci/.github/workflows/x.yml@{'a1' * 20}", secrets="inherit")) == []
    assert cases(PATH, workflow({"uses": "other/tool@master"})) == ["action-not-pinned"]
    assert cases(PATH, workflow({"uses": "other/tool@v1"})) == []


@pytest.mark.parametrize(
    "root",
    [
        workflow(CLAUDE, permissions="read-all"),
        workflow(CLAUDE, permissions={"contents": "write"}),
        workflow(CLAUDE, permissions="write-all", job={"permissions": {"contents": "read"}}),
    ],
)
def test_no_agent_or_no_token_for_everything(root):
    assert cases(PATH, root) == []


@pytest.mark.parametrize(
    "step",
    [
        CLAUDE | {"with": {"claude_args": "--dangerously-skip-permissions"}},
        CLAUDE | {"with": {"claude_args": "--max-turns 5\n--permission-mode bypassPermissions"}},
        CLAUDE | {"with": {"settings": '{\n"permissions": {"defaultMode": "bypassPermissions"}}'}},
        {"uses": "openai/codex-action@" + "0" * 40, "with": {"sandbox": "danger-full-access"}},
        {
            "uses": "openai/codex-action@" + "0" * 40,
            "with": {"codex-args": "--dangerously-bypass-approvals-and-sandbox"},
        },
        {"run": "claude -p 'fix' --dangerously-skip-permissions"},
        {"run": "set -e\ngemini --yolo -p fix"},
        {"run": "gemini \\\n  -p fix \\\n  --yolo"},
        {"run": "npx -y @openai/codex exec --yolo fix"},
        {"run": "copilot -p fix --allow-all-tools"},
        {"run": "q chat --trust-all-tools fix"},
        {"run": "aider --yes-always --message fix"},
        {"run": "cursor-agent -p --force fix"},
    ],
)
def test_an_agent_that_asks_nobody(step):
    assert cases(PATH, workflow(step)) == [UNASKED]


@pytest.mark.parametrize(
    "step",
    [
        {"run": "terraform apply -auto-approve"},
        {"run": "git push --force"},
        {"run": "npm install --yes"},
        {"run": "# claude --dangerously-skip-permissions\nmake"},
        {"run": "claude -p 'review' --allowedTools Read"},
        {"run": "codex exec --sandbox read-only 'review'"},
        {"run": "docker run --privileged x --yolo"},
        CLAUDE | {"with": {"claude_args": "--max-turns 5"}},
    ],
)
def test_an_agent_that_asks_and_others(step):
    assert cases(PATH, workflow(step)) == []


def test_the_line_of_an_option_of_a_command_of_several_lines():
    (found,) = weaknesses(reading(PATH, workflow({"run": "a\ngemini \\\n  -p fix \\\n  --yolo"})))
    (first,) = document(PATH, workflow({"run": "a"})).roots[0].at("jobs", "a", "steps").list
    assert found.place.line == first.at("run").line + 3


def test_the_line_of_an_option_within_a_text():
    (found,) = weaknesses(reading(PATH, workflow({"run": "a\nb\nclaude --dangerously-skip-permissions"})))
    assert (
        found.place.line
        == document(PATH, workflow({"run": "a"})).roots[0].at("jobs", "a", "steps").list[0].at("run").line + 2
    )


RUN = {"run": 'claude -p "$BODY" --allowedTools Read'}


@pytest.mark.parametrize(
    "root",
    [
        workflow(RUN, on={"issue_comment": {"types": ["created"]}}),
        workflow(RUN, on=["push", "pull_request_target"]),
        workflow(RUN, on="issues"),
        workflow(CLAUDE | {"with": {"allowed_non_write_users": "*"}}, on="issues"),
    ],
)
def test_an_agent_that_outsiders_set_off(root):
    assert cases(PATH, root) == ["agent-workflow-open-to-outsiders"]


@pytest.mark.parametrize(
    "root",
    [
        workflow(RUN, on="push"),
        workflow(RUN, on="issues", job={"if": "github.event.issue.author_association == 'MEMBER'"}),
        workflow(RUN | {"if": "github.actor == 'kim'"}, on="issues"),
        workflow(RUN, on={"issues": {"types": ["labeled"]}}),
        workflow(RUN, on="issues", job={"if": "needs.check.outputs.has-permission == 'true'"}),
        workflow(CLAUDE, on="issue_comment"),
        workflow({"run": "make"}, on="issues"),
    ],
)
def test_an_agent_that_only_insiders_set_off(root):
    assert cases(PATH, root) == []


@pytest.mark.parametrize(
    "block",
    [
        {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "${{ secrets.AWS_SECRET_ACCESS_KEY }}"},
        {"AWS_ACCESS_KEY_ID": "${{ secrets.KEY_ID }}", "AWS_SECRET_ACCESS_KEY": "${{ secrets.KEY }}"},
        {"GOOGLE_CREDENTIALS": "${{ secrets.GCP }}"},
        {"ARM_CLIENT_SECRET": "${{ secrets.ARM }}"},
    ],
)
def test_a_key_that_never_ends(block):
    (found,) = weaknesses(reading(PATH, workflow({"run": "x", "env": block})))
    assert found.case == "static-cloud-key-in-pipeline"
    assert cases(PATH, workflow({"run": "x"}, env=block)) == ["static-cloud-key-in-pipeline"]
    assert cases(PATH, workflow({"run": "x"}, job={"env": block})) == ["static-cloud-key-in-pipeline"]
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    "step",
    [
        {
            "uses": "aws-actions/configure-aws-credentials@" + "0" * 40,
            "with": {"aws-access-key-id": "${{ secrets.A }}"},
        },
        {"uses": "google-github-actions/auth@" + "0" * 40, "with": {"credentials_json": "${{ secrets.A }}"}},
        {"uses": "azure/login@" + "0" * 40, "with": {"creds": "${{ secrets.A }}"}},
    ],
)
def test_a_key_that_is_given_to_an_action(step):
    assert cases(PATH, workflow(step)) == ["static-cloud-key-in-pipeline"]


@pytest.mark.parametrize(
    "block",
    [
        {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
        {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"},
        {"AWS_ACCESS_KEY_ID": "${{ steps.credentials.outputs.aws-access-key-id }}"},
        {"AWS_ACCESS_KEY_ID": "${{ secrets.A }}", "AWS_SESSION_TOKEN": "${{ secrets.B }}"},
        {"AWS_ACCESS_KEY_ID": "${{ secrets.A }}", "AWS_ENDPOINT_URL": "http://minio:9000"},
        {"AWS_REGION": "eu-central-1", "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/a"},
        {"ANTHROPIC_API_KEY": "${{ secrets.A }}"},
    ],
)
def test_no_key_of_a_cloud_that_never_ends(block):
    assert cases(PATH, workflow({"run": "x", "env": block})) == []


@pytest.mark.parametrize(
    "step",
    [
        {"uses": "acme/deploy@main", "with": {"token": "${{ secrets.DEPLOY }}"}},
        {"uses": "acme/deploy@v2", "env": {"T": "${{ secrets['DEPLOY'] }}"}},
    ],
)
def test_an_action_that_can_be_exchanged(step):
    assert cases(PATH, workflow(step)) == ["action-not-pinned"]


@pytest.mark.parametrize(
    "step",
    [
        {"uses": "acme/deploy@" + "0a" * 20, "with": {"token": "${{ secrets.DEPLOY }}"}},
        {"uses": "acme/deploy@v2", "with": {"token": "${{ secrets.GITHUB_TOKEN }}"}},
        {"uses": "acme/lint@v2"},
        CLAUDE | {"uses": "anthropics/claude-code-action@v1"},
        {"uses": "actions/checkout@v4", "with": {"token": "${{ secrets.DEPLOY }}"}},
        {"uses": "./.github/actions/deploy", "with": {"token": "${{ secrets.DEPLOY }}"}},
    ],
)
def test_an_action_that_stays_or_holds_nothing(step):
    assert cases(PATH, workflow(step)) == []


def test_a_composite_action_is_read():
    root = {"runs": {"using": "composite", "steps": [{"run": "claude --dangerously-skip-permissions -p x"}]}}
    assert cases(".github/actions/fix/action.yml", root) == [UNASKED]


@pytest.mark.parametrize(
    "root", [{}, {"jobs": []}, {"jobs": {"a": "x"}}, {"on": {"push": None}, "jobs": {"a": {"steps": "x"}}}, "text", []]
)
def test_a_broken_workflow_says_nothing(root):
    assert cases(PATH, root) == []
