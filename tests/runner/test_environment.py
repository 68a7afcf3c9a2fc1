"""What of the environment an agent gets."""

import pytest

from taskbound.runner.environment import LeaseFile, brought, inherited, withheld

OUTSIDE = {
    "PATH": "/bin",
    "HOME": "/home/alice",
    "LC_TIME": "C",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "GH_TOKEN": "canary",
    "DATABASE_URL": "canary",
    "LD_PRELOAD": "/tmp/canary.so",
    "SSLKEYLOGFILE": "/tmp/keys.log",
    "NODE_OPTIONS": "--tls-keylog=/tmp/keys.log",
    "TASKBOUND_HOME": "/home/alice/state",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus",
    "https_proxy": "http://proxy:3128",
}
LOCAL = "127.0.0.1,localhost,::1"


def test_only_what_is_listed_is_inherited():
    assert inherited(OUTSIDE) == {
        "PATH": "/bin",
        "HOME": "/home/alice",
        "LC_TIME": "C",
        "https_proxy": "http://proxy:3128",
        "NO_PROXY": LOCAL,
    }


def test_keep_is_one_variable_and_no_pattern():
    inside = inherited(OUTSIDE, ["GH_TOKEN", "AWS_*", "MISSING"])
    assert inside.keys() - inherited(OUTSIDE).keys() == {"GH_TOKEN"}


@pytest.mark.parametrize(
    "proxy",
    [
        "http://alice:canary@proxy:3128",
        "http://canary@proxy",
        "alice:canary@proxy:3128",
        "http://[canary",
        "http://a:b@[::1",
    ],
)
@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "ftp_proxy"])
def test_a_proxy_in_which_a_password_may_stand_is_not_handed_on(name, proxy):
    assert name not in inherited({name: proxy})
    assert [*withheld({name: proxy}, [])] == [name]
    assert [*withheld({name: proxy}, [name])] == []  # it was asked for


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ({}, {"NO_PROXY": LOCAL}),
        ({"NO_PROXY": "corp, localhost"}, {"NO_PROXY": "corp,localhost,127.0.0.1,::1"}),
        ({"no_proxy": "corp"}, {"NO_PROXY": f"corp,{LOCAL}", "no_proxy": f"corp,{LOCAL}"}),
    ],
)
def test_what_goes_to_this_machine_goes_past_every_proxy(outside, inside):
    assert inherited(outside) == inside


def test_what_the_task_brings():
    leases = [LeaseFile("shop-db.1", "/f/shop-db.1.json"), LeaseFile("crm", "/f/crm.json")]
    assert brought("t1", "http://127.0.0.1:8441/mcp", "/f/mcp.json", leases, "/f/pg", "crm") == {
        "TASKBOUND_TASK": "t1",
        "TASKBOUND_URL": "http://127.0.0.1:8441",
        "TASKBOUND_MCP_URL": "http://127.0.0.1:8441/mcp",
        "TASKBOUND_MCP_CONFIG": "/f/mcp.json",
        "TASKBOUND_LEASE_SHOP_DB_1_FILE": "/f/shop-db.1.json",
        "TASKBOUND_LEASE_CRM_FILE": "/f/crm.json",
        "PGSERVICEFILE": "/f/pg",
        "PGSERVICE": "crm",
    }
    assert not {"PGSERVICE", "PGSERVICEFILE"} & brought("t1", "http://h/mcp", "/f", [], None, None).keys()
