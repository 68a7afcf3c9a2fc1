"""docs/reference.md says what the code says."""

from tests import reference


def test_the_reference_is_that_of_the_code() -> None:
    assert reference.PAGE.read_text() == reference.page(), "python -m tests.reference > docs/reference.md"
