"""Kubernetes manifests: secrets, workloads, service accounts and what they are bound to."""

from typing import Any

import pytest

from tests.posture.readers.made import cases, document, held, principals, reading, weaknesses
from tests.posture.whole import places

PATH = "deploy/app.yaml"


def thing(kind: str, name: str, namespace: str = "pay-prod", **more: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | more.pop("metadata", {})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata} | more


def deployment(name: str, account: str = "", image: str = "acme/pay:1.0", **container: Any) -> dict[str, Any]:
    pod: dict[str, Any] = {"containers": [{"name": name, "image": image} | container]}
    if account:
        pod |= {"serviceAccountName": account}
    return thing("Deployment", name, spec={"template": {"spec": pod}})


def binding(name: str, *subjects: Any, role: str = "cluster-admin", kind: str = "ClusterRoleBinding") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": list(subjects),
    }


def account(name: str, namespace: str = "pay-prod") -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def test_a_secret_is_held_by_itself_in_its_environment():
    found = reading(
        PATH, thing("Secret", "pay", data={"A": "b"}), thing("Secret", "pay", "pay-staging", data={"A": "b"})
    )
    first, second = held(found, "data", "A"), held(found, "data", "A", root=1)
    assert (first.holder.kind, first.spot, first.holder.environment) == ("workload", "k8s-secret", "production")
    assert (first.holder.name, second.holder.name) == (
        "k8s-secret:pay-prod/pay@shop",
        "k8s-secret:pay-staging/pay@shop",
    )
    assert second.holder.environment == "staging"


def test_the_path_tells_the_environment_where_no_namespace_does():
    found = reading("k8s/overlays/prod/secret.yaml", thing("Secret", "pay", "", stringData={"A": "b"}))
    assert held(found, "stringData", "A").holder.environment == "production"


def test_objects_of_a_list_are_read():
    found = reading(PATH, {"apiVersion": "v1", "kind": "List", "items": [thing("Secret", "pay", data={"A": "b"})]})
    assert held(found, "items", "0", "data", "A").spot == "k8s-secret"


def test_a_workload_holds_its_environment():
    found = reading(PATH, deployment("settle", "runner", env=[{"name": "A", "value": "b"}]))
    holding = held(found, "spec", "template", "spec", "containers", "0", "env", "0", "value")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == (
        "workload",
        "k8s:pay-prod/settle@shop",
        "k8s-workload",
    )
    (workload,) = principals(found, "k8s-workload")
    assert workload.facts["service_account"] == "k8s-sa:pay-prod/runner"


def test_a_service_account_of_several_workloads():
    roots = [deployment("settle", "runner"), deployment("notify", "runner"), deployment("other", "own")]
    (found,) = weaknesses(reading(PATH, *roots))
    assert (found.case, found.subject) == ("service-account-shared-by-workloads", "k8s-sa:pay-prod/runner")
    made = document(PATH, *roots)
    lines = [one.at("spec", "template", "spec", "serviceAccountName").line for one in made.roots[:2]]
    assert [found.place.line, *(one.line for one in found.more)] == lines
    assert cases(PATH, deployment("settle", "a"), deployment("notify", "b")) == []
    assert cases(PATH, deployment("settle", "default"), deployment("notify", "default")) == []
    assert cases(PATH, deployment("settle"), deployment("notify")) == []


@pytest.mark.parametrize(
    ("root", "case", "subject"),
    [
        (binding("b", account("ops-agent")), "cluster-admin-to-agent", "k8s-sa:pay-prod/ops-agent"),
        (binding("b", account("mcp-server")), "cluster-admin-to-agent", "k8s-sa:pay-prod/mcp-server"),
        (binding("b", account("deployer")), "cluster-admin-to-workload", "k8s-sa:pay-prod/deployer"),
        (binding("b", account("ops-agent"), kind="RoleBinding"), "cluster-admin-to-agent", "k8s-sa:pay-prod/ops-agent"),
        (
            binding("b", {"kind": "User", "name": "system:serviceaccount:pay-prod:ops-agent"}),
            "cluster-admin-to-agent",
            "k8s-sa:pay-prod/ops-agent",
        ),
        (
            binding("b", {"kind": "Group", "name": "system:serviceaccounts"}),
            "cluster-admin-to-workload",
            "k8s-group:system:serviceaccounts",
        ),
    ],
)
def test_somebody_may_do_everything(root, case, subject):
    (found,) = weaknesses(reading(PATH, root))
    assert (found.case, found.subject) == (case, subject)
    assert found.place.line == document(PATH, root).roots[0].at("roleRef", "name").line


@pytest.mark.parametrize(
    "root",
    [
        binding("b", account("ops-agent"), role="view"),
        binding("b", {"kind": "Group", "name": "platform-admins"}),
        binding("b", {"kind": "User", "name": "kim@acme.example"}),
        binding("b"),
    ],
)
def test_nobody_may_do_everything(root):
    assert cases(PATH, root) == []


EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


def test_a_role_for_everything_under_another_name():
    role = thing(
        "ClusterRole", "ops", "", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, EVERYTHING]
    )
    (found,) = weaknesses(reading(PATH, role, binding("b", account("ops-agent"), role="ops")))
    assert (found.case, found.subject) == ("cluster-admin-to-agent", "k8s-sa:pay-prod/ops-agent")
    assert cases(PATH, role) == ["cluster-admin-to-workload"]
    narrow = thing("ClusterRole", "ops", "", rules=[EVERYTHING | {"verbs": ["get", "list"]}])
    assert cases(PATH, narrow, binding("b", account("ops-agent"), role="ops")) == []


def test_a_token_that_never_ends():
    made = {"annotations": {"kubernetes.io/service-account.name": "runner"}}
    root = thing("Secret", "t", metadata=made, type="kubernetes.io/service-account-token")
    (found,) = weaknesses(reading(PATH, root))
    assert (found.case, found.subject) == ("long-lived-service-account-token", "k8s-sa:pay-prod/runner")
    assert cases(PATH, thing("Secret", "t", metadata=made, type="Opaque")) == []


def test_agents_in_a_cluster():
    assert cases(PATH, deployment("agent", image="acme/agent:latest")) == ["image-not-pinned"]
    assert cases(PATH, deployment("agent", image="acme/agent:1.2")) == []
    assert cases(PATH, deployment("pay", image="acme/pay:latest")) == []
    assert cases(PATH, deployment("agent", securityContext={"privileged": True})) == ["privileged-container"]
    assert cases(PATH, deployment("a", args=["claude", "--dangerously-skip-permissions"])) == [
        "agent-runs-without-permission-checks"
    ]


def test_what_runs_on_every_node_is_no_model_s():
    root = deployment("acme-agent", image="acme/agent")
    assert cases(PATH, root) == ["image-not-pinned"]
    assert cases(PATH, root | {"kind": "DaemonSet"}) == []
    assert cases(PATH, deployment("a", image="acme/mcp") | {"kind": "DaemonSet"}) == ["image-not-pinned"]


def test_the_runtime_of_a_node():
    root = deployment("a")
    root["spec"]["template"]["spec"]["volumes"] = [{"name": "d", "hostPath": {"path": "/var/run/docker.sock"}}]
    assert cases(PATH, root) == ["docker-socket-mounted"]
    root["spec"]["template"]["spec"]["volumes"] = [{"name": "d", "hostPath": {"path": "/var/log"}}]
    assert cases(PATH, root) == []


def test_a_cron_job_is_a_workload():
    pod = {"serviceAccountName": "runner", "containers": [{"name": "a", "image": "b"}]}
    root = thing("CronJob", "nightly", spec={"jobTemplate": {"spec": {"template": {"spec": pod}}}})
    (found,) = principals(reading(PATH, root), "k8s-workload")
    assert found.facts["service_account"] == "k8s-sa:pay-prod/runner"


def test_without_a_namespace_an_account_is_the_repository_s():
    (found,) = principals(reading(PATH, thing("ServiceAccount", "runner", "")), "k8s-service-account")
    assert found.id == "k8s-sa:runner@shop"


@pytest.mark.parametrize("root", [{"kind": "Secret"}, {"apiVersion": "v1", "kind": "Deployment", "spec": "x"}, [], "x"])
def test_a_broken_manifest_says_nothing(root):
    assert cases(PATH, root) == []


HELM = "charts/agent-runner/values-prod.yaml"


def test_values_of_a_chart():
    found = reading(HELM, {"env": {"A": "b"}})
    holding = held(found, "env", "A")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == (
        "agent",
        "helm:agent-runner@shop",
        "k8s-workload",
    )
    assert holding.holder.environment == "production"
    assert held(reading("charts/pay/values.yaml", {"a": "b"}), "a").holder.kind == "workload"


def test_images_of_a_chart():
    assert cases(HELM, {"image": {"repository": "acme/mcp", "tag": "latest"}}) == ["image-not-pinned"]
    assert cases(HELM, {"image": {"repository": "acme/mcp", "tag": "1.2.3"}}) == []
    assert cases(HELM, {"image": {"repository": "acme/mcp", "tag": ""}}) == []
    assert cases(HELM, {"image": {"repository": "acme/pay", "tag": "latest"}}) == []


@pytest.mark.parametrize("path", ["kubeconfig", ".kube/config", "deploy/ci.kubeconfig", "access.yaml"])
def test_what_people_sign_in_with_is_no_workload(path):
    token = f"q8{'Zt7vK2mW9rBx4LpN' * 2}"
    text = f"apiVersion: v1\nkind: Config\nusers:\n- name: ada\n  user:\n    token: {token}\n"
    assert places("secret-in-config-file", {path: text}) == {(path, 6)}
    assert places("secret-in-workload-manifest", {path: text}) == set()
    other = text.replace("users:\n", "spec:\n")  # of some API that has a kind of that name
    assert places("secret-in-workload-manifest", {path: other}) == {(path, 6)}
