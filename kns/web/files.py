"""The style sheet, the script and the icon of the page. Everybody may have them."""

from fastapi import Request, Response

from kns.http.errors import HttpError
from kns.http.routes import GET, Route, Routes
from kns.web.errors import ERRORS, UNKNOWN_FILE
from kns.web.pages import ASSETS, HEADERS, STATIC

_KEPT_S = 31_536_000  # a year: their addresses change with their content

routes = Routes(ERRORS)


@routes.add(Route("static/{name}", "A file of the page.", methods=GET))
async def show_file(name: str, request: Request) -> Response:
    if name not in STATIC:
        raise HttpError(UNKNOWN_FILE)
    media, content = STATIC[name]
    # During an upgrade a page of the new replica asks the old one, too. Its answer must not be kept at the new address.
    is_this = request.scope["query_string"] == ASSETS.encode()
    age = f"public, max-age={_KEPT_S}, immutable" if is_this else "no-cache"
    return Response(content, media_type=media, headers={**HEADERS, "Cache-Control": age})
