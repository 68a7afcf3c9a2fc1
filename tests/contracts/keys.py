"""The contract of `Keys` (ports.py). All keys pass every test here.

A module that runs it imports `*` and gives the fixture `keys`, with the purposes "log", "receipt" and "token".
"""

import asyncio

import pytest

from taskbound.core.errors import Unavailable
from taskbound.formats.jose import Compact, MalformedToken, compact, encode, require_signature
from taskbound.formats.note import make_key, verifies


async def test_what_is_signed_verifies_by_the_public_key_of_its_purpose_alone(keys):
    public = dict(await keys.public())
    assert set(public) == {"log", "receipt", "token"}
    public.pop("token")
    for purpose in public:
        signature = await keys.sign(purpose, b"message")
        verdicts = {other: verifies(make_key("k", key), b"message", signature) for other, key in public.items()}
        assert verdicts == {other: other == purpose for other in public}
        assert not verifies(make_key("k", public[purpose]), b"another", signature)


async def test_a_token_is_signed_with_es256_as_jose_has_it(keys):
    public = (await keys.public())["token"]
    for message in (b"a.b", *(b"%d" % n for n in range(32))):  # each signature has leading zeros once in a while
        text = compact(b"eyJhbGciOiJFUzI1NiJ9." + encode(message).encode(), b"")[:-1]
        signature = await keys.sign("token", text.encode())
        assert len(signature) == 64
        require_signature(Compact(f"{text}.{encode(signature)}", {}, {}), public)
    with pytest.raises(MalformedToken):
        require_signature(Compact(f"{text}.{encode(await keys.sign('log', text.encode()))}", {}, {}), public)


async def test_the_keys_stay_the_same(keys):
    first = await keys.public()
    signature = await keys.sign("log", b"message")
    assert await keys.public() == first
    assert verifies(make_key("k", first["log"]), b"message", signature)


async def test_many_may_sign_at_once(keys):
    signatures = await asyncio.gather(*(keys.sign("log", b"%d" % n) for n in range(20)))
    public = make_key("k", (await keys.public())["log"])
    assert all(verifies(public, b"%d" % n, signature) for n, signature in enumerate(signatures))


async def test_an_unknown_purpose_has_no_key(keys):
    with pytest.raises(Unavailable):
        await keys.sign("another", b"message")
