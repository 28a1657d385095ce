"""
The help page of a running job, as HTML for a portal: its URLs, its login, and the app's own help.

The app's page comes from an image, so nobody trusts it. A portal shows it inside its own page, with its viewer's
session. Only text, tables and links remain of it.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from threading import Lock

import nh3

from kns.model.job.connection import substitute
from kns.service.view import Connection

MAX_FILLED_CHARACTERS = 256 * 1024  # a page has at most 64 KiB, and a placeholder of 11 bytes can become 128
MAX_SHOWN_CHARACTERS = 5 * MAX_FILLED_CHARACTERS  # of a page that consists of `<`
MAX_DEPTH = 500  # of open tags; the time of the library is quadratic in it
TOO_LARGE = "<p>The help page of the app is too large or too deeply nested to be shown.</p>\n"

KEPT_TAGS = frozenset((
    "a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "details", "dfn", "div", "dl",
    "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q",
    "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "u", "ul", "var",
))  # fmt: skip
# No image, because its address would be requested with the viewer's session. No `class`, `id` or `style`, which belong
# to the portal.
KEPT_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "*": frozenset({"title", "lang", "dir"}),
    "a": frozenset({"href"}),
    "td": frozenset({"colspan", "rowspan"}),
    "th": frozenset({"colspan", "rowspan", "scope"}),
    "ol": frozenset({"start"}),
}
LINK_SCHEMES = frozenset({"http", "https", "mailto"})
_REMOVED_WITH_CONTENT = frozenset((
    "script", "style", "title", "template", "noscript", "iframe", "noembed", "noframes", "object", "svg", "math",
    "textarea", "select", "xmp", "plaintext",
))  # fmt: skip
_PAGES_KEPT = 16  # of the last pages; each has at most 1.3 MiB

_TAG = re.compile(r"<(/?)([a-z][^ \t\n\f\r/>]*)", re.IGNORECASE)
# The attributes of a tag, up to its `>`. A value in quotes may have one, too. No `<` elsewhere keeps the time linear.
_SPACE, _WORD = r"[ \t\n\f\r]", r"""[^ \t\n\f\r"'<>]"""
_ATTRIBUTE = rf"""(?![/=]){_WORD}+?(?:{_SPACE}*+={_SPACE}*+(?:"[^"]*+"|'[^']*+'|{_WORD}++)|(?=[ \t\n\f\r/>]))"""
_ATTRIBUTES = re.compile(rf"(?:{_SPACE}++{_ATTRIBUTE})*+{_SPACE}*+/?(?=>)")
# Tags whose end may be left out: an element of the same kind ends them, or they have no content.
_ENDED_BY_NEXT = frozenset((
    "br", "col", "dd", "dt", "hr", "img", "input", "li", "link", "meta", "option", "p", "tbody", "td", "tfoot", "th",
    "thead", "tr", "wbr",
))  # fmt: skip
# HTML opens these again in each next block while their end is missing, up to three of equal ones, and of `a` only one
# (https://html.spec.whatwg.org/#reconstruct-the-active-formatting-elements): 64 KiB become gigabytes.
_OPENED_AGAIN = frozenset((
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
))  # fmt: skip
_MOST_EQUAL = 3
_TAG_COSTS = 16  # characters, beside those of the tag itself: each has a place in memory
_MOST_OPENED_AGAIN = 4 * 1024 * 1024  # characters, for the worst page with such tags

_CLEANER = nh3.Cleaner(
    tags=set(KEPT_TAGS),
    clean_content_tags=set(_REMOVED_WITH_CONTENT),
    attributes={tag: set(kept) for tag, kept in KEPT_ATTRIBUTES.items()},
    tag_attribute_values={"a": {"target": {"_blank"}}},
    url_schemes=set(LINK_SCHEMES),
    url_relative="deny",  # a relative link would lead into the portal
)
_LOCK = Lock()


def render_help(connection: Connection) -> str:
    """
    kns's own part, followed by the app's HTML. Every value that is filled into either is escaped.

    A job without a target has no URL, and the page then has only the login.
    """
    return _render_urls(connection) + _render_login(connection) + _render_page(connection)


def _render_page(connection: Connection) -> str:
    """
    The app's page with its values, sanitized afterwards: so the library judges what a portal gets, also a link that a
    placeholder completes.
    """
    filled = substitute(connection.help, {key: escape(value) for key, value in connection.substitutions.items()})
    if len(filled) > MAX_FILLED_CHARACTERS:
        return TOO_LARGE
    with _LOCK:  # so that large pages occupy one core and no more
        return _sanitize(filled)


@lru_cache(maxsize=_PAGES_KEPT)
def _sanitize(page: str) -> str:
    if not _is_modest(page):
        return TOO_LARGE
    cleaned = _CLEANER.clean(page)
    return cleaned if len(cleaned) <= MAX_SHOWN_CHARACTERS else TOO_LARGE


def _is_modest(page: str) -> bool:
    """
    Whether the library can clean the page in little time and memory. In time that is linear.

    It finds each tag that the library finds. Some of what it takes for an end may be none, in a comment for example. A
    page can be deeper by that, but each level then needs so many characters that its time stays small.
    """
    tags, depth, opened, again = 0, 0, Counter[str](), Counter[str]()
    link = 0
    for tag in _TAG.finditer(page):
        tags += 1
        name = tag[2].lower()
        if tag[1]:
            depth -= bool(opened[name])
            opened[name] -= bool(opened[name])
            continue
        if name not in _ENDED_BY_NEXT:
            depth += 1
            opened[name] += 1
        if depth > MAX_DEPTH:
            return False
        if name not in _OPENED_AGAIN:
            continue
        attributes = _ATTRIBUTES.match(page, tag.end())
        if attributes is None:  # where the tag ends is not clear
            return False
        if name == "a":
            link = max(link, len(tag[0] + attributes[0]) + _TAG_COSTS)
        else:
            again[tag[0] + attributes[0]] += 1
    text = link + sum(min(count, _MOST_EQUAL) * (len(each) + _TAG_COSTS) for each, count in again.items())
    return text * tags <= _MOST_OPENED_AGAIN


def _render_urls(connection: Connection) -> str:
    urls = [_link(connection.url)] if connection.url else []
    if connection.shell_url:
        urls.append(f"shell: {_link(connection.shell_url)}")
    return f"<h3>Urls</h3>\n<p>{'<br>'.join(urls)}</p>\n" if urls else ""


def _render_login(connection: Connection) -> str:
    user, password = escape(connection.user), escape(connection.password)
    return f"<h3>Credentials</h3>\n<p>user: <code>{user}</code><br>password: <code>{password}</code></p>\n"


def _link(url: str) -> str:
    """A link only for http(s): the URL may come from an app author, and portals show it as HTML."""
    text = escape(url)
    return f'<a href="{text}">{text}</a>' if url.lower().startswith(("http://", "https://")) else text
