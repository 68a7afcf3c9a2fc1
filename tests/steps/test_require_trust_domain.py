"""The trust domain of an installation stays what it is: that of its operators."""

from dataclasses import replace

import pytest

from taskbound.core.errors import InvalidRequest
from taskbound.core.identity import door
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.require_trust_domain import require_trust_domain
from tests.rig import Rig


async def begin(rig: Rig, name: str, trust_domain: str) -> None:
    """Do what a start does first."""
    world = replace(rig.world, trust_domain=trust_domain)
    start = door(trust_domain, "door/start", "main")
    await require_trust_domain(world, start)
    ask = RegistrationAsk(f"human/{name}", f"human/{name}", "operator", {"name": f"human/{name}"})
    await register_identity(world, start, start, ask)


async def test_another_one_than_that_of_the_operators_is_refused():
    rig = Rig()
    await begin(rig, "op", "box.local")  # whatever others are registered in, nobody of them administers
    before = [*rig.store.events]
    with pytest.raises(InvalidRequest, match=r"the trust domain is other\.local, .* is of box\.local") as refused:
        await begin(rig, "second", "other.local")
    assert refused.value.code == "invalid_config" and 'trust_domain = "box.local"' in refused.value.hint
    assert [*rig.store.events] == before
    await begin(rig, "second", "box.local")
