"""What is refused is said without the secret that came with it."""

import pytest

from taskbound.core.errors import Denied, InvalidRequest, NotFound, bounded

HANDLE = "tbh_" + "aB3-_" * 8 + "xyz"
JOINS = "tbj_" + "aB3-_" * 8 + "xyz.1793750000"


@pytest.mark.parametrize("token", [HANDLE, JOINS, HANDLE[:32]])
def test_a_token_in_the_wrong_place_is_not_said_again(token):
    error = NotFound(f"there is no task {token}", hint=f"did you mean {token!r}?")
    assert token[4:20] not in f"{error} {error.hint} {error!r}"
    assert str(error).startswith(f"there is no task {token[:4]}…")


def test_a_message_about_tokens_stays_as_it_is():
    error = Denied("a handle begins with tbh_ and has 43 characters", hint="see tbj_short")
    assert (str(error), error.hint) == ("a handle begins with tbh_ and has 43 characters", "see tbj_short")


@pytest.mark.parametrize("text", [HANDLE, f"agent/{HANDLE}", f"refund 4711 as {JOINS}, please"])
def test_a_text_that_would_be_kept_with_a_token_in_it_is_refused(text):
    with pytest.raises(InvalidRequest, match="the intent holds a task handle or a join token") as refused:
        bounded("the intent", text, 4096)
    assert "aB3" not in str(refused.value)


def test_a_text_without_one_is_taken():
    bounded("the intent", "rotate what begins with tbh_, and tell me of tb_abcdef_" + "a" * 20, 4096)
