"""What a denial says to who reads the answer of a model: the code, the reason, and the command that tells more."""

from datetime import UTC, datetime

from taskbound.core.call import Call, Decision, Deny
from taskbound.edge.gateway.asked import denied


def test_a_denial_names_the_command_that_tells_a_person_more():
    call = Call("c" + "a" * 20, "main", "t1", "t1", "tools/call", "crm/refund", datetime(2027, 1, 1, tzinfo=UTC))
    told = denied(call, Decision((Deny("outside_grants", "task t1 has no grant of it", "a hint"),), {}))
    (content,) = told["content"]
    said = "denied: outside_grants: task t1 has no grant of it (for a person: taskbound why d" + "a" * 20 + ")"
    assert (content["text"], told["isError"]) == (said, True)
    assert told["_meta"]["io.taskbound/decision"]["call"] == "d" + "a" * 20
