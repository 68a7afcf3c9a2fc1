"""The target that tests and bench lease from, as a configuration would name it: a shop's database with one grant."""

from datetime import timedelta

from taskbound.core.catalogue import Target

TARGETS = {
    "shopdb/reader": Target(
        name="shopdb",
        grant="reader",
        environment="production",
        revocation_class="cut now",
        assurances=frozenset({"handle", "unix"}),
        holders=frozenset({"agent", "service"}),
        max_life=timedelta(minutes=15),
        statements={"member_of": ("shop_reader",)},
    )
}
