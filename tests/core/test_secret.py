"""A Secret is seen where it is delivered and nowhere else (T8.3)."""

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from taskbound.core.secret import Secret

CANARY = "canary-5d41402a"


@dataclasses.dataclass
class Holder:
    secret: Secret


@pytest.mark.parametrize(
    "leak",
    [
        str,
        lambda s: f"{s}",
        lambda s: "%s" % s,  # noqa: UP031
        lambda s: "{}".format(s),  # noqa: UP032
        lambda s: json.dumps({"s": s}),
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        lambda s: dataclasses.asdict(Holder(s)),
        hash,
        bool,
        len,
        lambda s: s == CANARY,
        lambda s: {s},
        lambda s: json.dumps(s, default=str),
        vars,
    ],
)
def test_it_refuses_to_become_text(leak):
    with pytest.raises(TypeError) as refused:
        leak(Secret(CANARY))
    assert CANARY not in str(refused.value)


def test_it_is_masked_where_somebody_looks(caplog):
    secret = Secret(CANARY)
    assert repr(secret) == "Secret(***)"
    assert CANARY not in repr(Holder(secret))
    logging.getLogger().warning("%r", secret)
    assert CANARY not in caplog.text
    try:
        raise ValueError(secret)
    except ValueError:
        assert CANARY not in traceback.format_exc()
    assert secret.reveal() == CANARY
