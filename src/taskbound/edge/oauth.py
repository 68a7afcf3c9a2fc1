"""OAuth, as far as it is served: the keys that task tokens are signed with (RFC 7517 5). Nothing is granted here."""

from starlette.responses import Response

from taskbound.edge.claims import Rule
from taskbound.edge.http import Knock, Route, json_response
from taskbound.formats.jose import key_set


async def get_keys(knock: Knock) -> Response:
    response = json_response(key_set((await knock.world.keys.public())["token"]))
    response.headers["cache-control"] = "public, max-age=300"  # as long as a token lives
    return response


ROUTES = (Route("GET", "/.well-known/jwks.json", get_keys, Rule.PUBLIC),)
