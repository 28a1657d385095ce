"""An image's help page is shown inside a portal, so nothing in it may run, load, post, or lead into the portal."""

from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kns.http.help_page import (
    KEPT_ATTRIBUTES,
    KEPT_TAGS,
    LINK_SCHEMES,
    MAX_DEPTH,
    MAX_FILLED_CHARACTERS,
    TOO_LARGE,
    render_help,
)
from kns.model.job.output import JobOutput
from kns.service.view import Connection
from tests.api.client import Api
from tests.builders import a_job

pytestmark = pytest.mark.proves("security", "markup, script or placeholders in the help page")

SAFE_URL = "https://h.example.org"
VALUES = {
    "PUBLICADDR": "h.example.org",
    "CONNECTURL": SAFE_URL,
    "BASEURL": "/",
    "JOBNAME": "20261101-7-hello",
    "NIMBIXUSER": "ana",
    "NIMBIXPASSWD": "P" * 16,
    "RANDOM128": "R" * 128,
}
_WRITTEN_BY_LIBRARY = {"rel", "target"}


class _Judge(HTMLParser):
    """A second reader of HTML, beside the library's own. Collects whatever the page must not have."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in KEPT_TAGS:
            self.faults.append(f"tag {tag}")
        kept = KEPT_ATTRIBUTES["*"] | KEPT_ATTRIBUTES.get(tag, frozenset()) | _WRITTEN_BY_LIBRARY
        self.faults += [f"attribute {tag} {name}" for name, _ in attrs if name not in kept]
        self.faults += [
            f"link {value}"
            for name, value in attrs
            if name == "href" and urlsplit(value or "").scheme not in LINK_SCHEMES
        ]

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.faults.append(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.faults.append(f"instruction {data}")


def render(page: str, values: Mapping[str, str] = VALUES) -> str:
    """The app's part of the help page."""
    connection = Connection(
        user="ana", address=None, password="P" * 16, url=None, shell_url=None, help=page, substitutions=dict(values)
    )
    own = render_help(Connection("ana", None, "P" * 16, None, None, "", dict(values)))
    whole = render_help(connection)
    assert whole.startswith(own)
    return whole.removeprefix(own)


def find_faults(page: str) -> list[str]:
    judge = _Judge()
    judge.feed(page)
    judge.close()
    return judge.faults


@pytest.mark.parametrize(
    ("sentence", "page", "left"),
    [
        ("a script", "a<script>alert(1)</script>b", "ab"),
        ("a script that never ends", "a<script>alert(1)", "a"),
        ("an image that fails", '<img src=x onerror="alert(1)">', ""),
        ("an image whose request carries the viewer's session", '<img src="/jarvice/terminate?number=1">', ""),
        ("an event of a kept tag", '<p onclick="alert(1)" onmouseover=alert(1)>x</p>', "<p>x</p>"),
        ("a style that covers the portal", '<div style="position:fixed;inset:0">x</div>', "<div>x</div>"),
        ("a sheet", "<style>*{display:none}</style>x", "x"),
        ("names that portal and script use", '<p id="login" class="button" name="x">x</p>', "<p>x</p>"),
        ("a javascript link", '<a href="javascript:alert(1)">x</a>', '<a rel="noopener noreferrer">x</a>'),
        (
            "a javascript link in disguise",
            '<a href=" java&#10;script&colon;alert(1)">x</a>',
            '<a rel="noopener noreferrer">x</a>',
        ),
        (
            "a data link",
            '<a href="data:text/html,<script>alert(1)</script>">x</a>',
            '<a rel="noopener noreferrer">x</a>',
        ),
        ("a link into the portal", '<a href="/logout">x</a>', '<a rel="noopener noreferrer">x</a>'),
        ("a link without a scheme", '<a href="//evil.example.org">x</a>', '<a rel="noopener noreferrer">x</a>'),
        (
            "a link into another frame",
            '<a href="https://x.example.org" target="_top">x</a>',
            '<a href="https://x.example.org" rel="noopener noreferrer">x</a>',
        ),
        (
            "a form that asks for the password",
            '<form action="https://evil.example.org"><input name=p><button>ok</button></form>',
            "ok",
        ),
        ("a frame", '<iframe src="https://evil.example.org">x</iframe>', ""),
        ("an embedded page", '<object data="x"></object><embed src="x">', ""),
        ("a base for all links", '<base href="https://evil.example.org/">x', "x"),
        ("a redirection", '<meta http-equiv="refresh" content="0;url=https://evil.example.org">x', "x"),
        (
            "a whole document",
            "<!DOCTYPE html><html><head><title>t</title></head><body><h1>x</h1></body></html>",
            "<h1>x</h1>",
        ),
        (
            "a drawing with a script",
            "<svg><script>alert(1)</script><a xlink:href='javascript:alert(1)'>x</a></svg>",
            "",
        ),
        (
            "a mutation by foreign content",
            '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
            "",
        ),
        ("a mutation by noscript", '<noscript><p title="</noscript><img src=x onerror=alert(1)>">', '"&gt;'),
        ("a mutation by a comment", "<!--><script>alert(1)</script>-->x", "--&gt;x"),
        ("a mutation by a title", '<title><a title="</title><img src=x onerror=alert(1)>">', '"&gt;'),
        ("a template", "<template><script>alert(1)</script></template>x", "x"),
        ("a tag that only a browser completes", "<p title='x'<script>alert(1)</script>", None),
        ("a tag with a null byte", "<scr\0ipt>alert(1)</scr\0ipt>", None),
    ],
)
def test_of_a_hostile_page_only_text_and_links_remain(sentence: str, page: str, left: str | None) -> None:
    rendered = render(page)
    assert find_faults(rendered) == []
    assert left is None or rendered == left


@pytest.mark.parametrize(
    ("sentence", "page", "values"),
    [
        ("a URL that is a script, in a link", '<a href="%CONNECTURL%">x</a>', {"CONNECTURL": "javascript:alert(1)"}),
        ("a link without quotes", "<a href=%CONNECTURL%>x</a>", {"CONNECTURL": "x onclick=alert(1) "}),
        ("a name of an attribute", "<p %NIMBIXUSER%>x</p>", {"NIMBIXUSER": "onclick=alert(1)"}),
        ("a name of a tag", "<%NIMBIXUSER%>x", {"NIMBIXUSER": "img src=x onerror=alert(1)"}),
        ("a scheme of two parts", '<a href="java%NIMBIXUSER%">x</a>', {"NIMBIXUSER": "script:alert(1)"}),
        ("a value with quotes", '<a href="https://%NIMBIXUSER%">x</a>', {"NIMBIXUSER": '"><script>alert(1)</script>'}),
        ("an end of a comment", "<!-- %NIMBIXUSER%", {"NIMBIXUSER": "--><script>alert(1)</script>"}),
        ("a value inside a script", "<script>%NIMBIXUSER%</script>", {"NIMBIXUSER": "</script><img src=x>"}),
        (
            "a value that is a placeholder",
            '<a href="%CONNECTURL%">x</a>',
            {"CONNECTURL": "%NIMBIXUSER%", "NIMBIXUSER": "javascript:alert(1)"},
        ),
    ],
)
def test_a_value_opens_nothing_wherever_the_page_puts_it(sentence: str, page: str, values: dict[str, str]) -> None:
    assert find_faults(render(page, {**VALUES, **values})) == []


PIECES = st.sampled_from(
    [
        "<",
        ">",
        "</",
        "/>",
        '"',
        "'",
        "=",
        " ",
        "`",
        "\0",
        "\n",
        "&",
        ";",
        "&lt;",
        "&#x3c;",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "a",
        "p",
        "div",
        "table",
        "td",
        "img",
        "svg",
        "math",
        "style",
        "script",
        "title",
        "noscript",
        "template",
        "mglyph",
        "select",
        "href",
        "src",
        "onclick",
        "style",
        "javascript:",
        "alert(1)",
        "https://h.example.org",
        "%CONNECTURL%",
        "%NIMBIXUSER%",
        "%NO%",
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join), st.lists(PIECES, max_size=8).map("".join))
def test_any_page_with_any_value(page: str, value: str) -> None:
    rendered = render(page, {**VALUES, "NIMBIXUSER": value, "CONNECTURL": value})
    assert find_faults(rendered) == []
    assert render(rendered, {}) == rendered, "a second reader of the page finds the same"


def test_an_honest_page_stays_as_it_is_with_its_values() -> None:
    page = (
        '<h2>Lab</h2>\n<p>Open <a href="%CONNECTURL%lab?token=%RANDOM128%" target="_blank">the lab</a> as '
        "<code>%NIMBIXUSER%</code>.</p>\n<table><tr><th>host</th><td>%PUBLICADDR%</td></tr></table>\n"
        "<ul><li>100&nbsp;% of %JOBNAME% is yours &amp; <b>only</b> yours</li></ul>%NO%"
    )
    rendered = render(page, {**VALUES, "CONNECTURL": f"{SAFE_URL}/"})
    assert rendered == (
        f'<h2>Lab</h2>\n<p>Open <a href="{SAFE_URL}/lab?token={"R" * 128}" target="_blank" rel="noopener noreferrer">'
        "the lab</a> as <code>ana</code>.</p>\n<table><tbody><tr><th>host</th><td>h.example.org</td></tr>"
        "</tbody></table>\n<ul><li>100&nbsp;% of 20261101-7-hello is yours &amp; <b>only</b> yours</li></ul>%NO%"
    )


def test_a_page_that_its_values_make_enormous_is_left_out() -> None:
    count = MAX_FILLED_CHARACTERS // 128
    assert render("%RANDOM128%" * count) == "R" * 128 * count
    assert render("%RANDOM128%" * (count + 1)) == TOO_LARGE


BOLD = "".join(f"<b title={number}>" for number in range(100))


@pytest.mark.proves("security", "fill kns's memory or time with a help page")
@pytest.mark.parametrize(
    ("sentence", "page"),
    [
        ("nested tags", "<div>" * (MAX_DEPTH + 1)),
        ("nested tags that are removed", "<x>" * (MAX_DEPTH + 1)),
        ("nested tags that end themselves, which HTML does not know", "<div/>" * (MAX_DEPTH + 1)),
        ("nested tags in capitals", "<DIV>" * (MAX_DEPTH + 1)),
        ("nested tags with an end of their own between them", "<div></p><p>" * (MAX_DEPTH + 1)),
        ("nested lists", "<dl><dd>" * (MAX_DEPTH + 1)),
        ("nested tables", "<table><td>" * (MAX_DEPTH + 1)),
        ("nested tags of all kinds", "<div><span><b><section><x1>" * (MAX_DEPTH // 5 + 1)),
        ("bold tags without an end, which each paragraph opens again", f"<p>{BOLD}" + "<p>x" * 3000),
        ("the same, ended where they cannot be", f"<p>{BOLD}<table><td>{'</b>' * 100}</table>" + "<p>x" * 3000),
        ("the same, ended in a comment", f"<p>{BOLD}<!-- {'</b>' * 100} -->" + "<p>x" * 3000),
        ("one bold tag with a long attribute", f"<p><b title={'x' * 30_000}>" + "<p>x" * 3000),
        ("a long attribute that seems to end early", f"<p><b title='>{'x' * 30_000}'>" + "<p>x" * 3000),
        ("the same behind a quote in quotes", f"""<p><b lang='"' title=">{"x" * 30_000}">""" + "<p>x" * 3000),
        ("the same behind a value that has a quote", f"""<p><b lang=y=" title=">{"x" * 30_000}">""" + "<p>x" * 3000),
        ("a long link, which each block opens again", f"<a title={'x' * 30_000}>" + "<div>" * 400 + "</a>" * 100),
    ],
)
def test_a_page_that_is_costly_to_clean_is_left_out(sentence: str, page: str) -> None:
    """64 KiB can nest so deep that they take a second, or become gigabytes."""
    assert render(page) == TOO_LARGE, sentence


@pytest.mark.parametrize(
    ("sentence", "page"),
    [
        ("nested tags", "<div>" * MAX_DEPTH),
        ("a list whose items have no end", "<ul>" + "<li>item <b>one</b><br>" * 2000 + "</ul>"),
        ("a table whose cells have no end", "<table>" + "<tr><td>a<td><code>b</code>" * 2000 + "</table>"),
        ("paragraphs without an end", "<p>text <em>x</em>" * 3000),
        ("many links", "".join(f'<p><a href="https://h.example.org/{page}">{page}</a></p>' for page in range(1000))),
        ("a long text", "<p>" + "word " * 12_000),
        ("attributes of all forms", """<p><a href=https://h.example.org/?a=b title = 'x > y' hidden >""" + "x</a>"),
    ],
)
def test_a_long_page_is_shown(sentence: str, page: str) -> None:
    assert len(page) < 64 * 1024
    assert render(page) != TOO_LARGE, sentence


def test_info_gives_the_sanitized_page() -> None:
    api = Api()
    stored = api.add(a_job().exposed())
    api.outputs.write(stored, JobOutput(log="", help="<p>Hello %NIMBIXUSER%<script>alert(1)</script></p>"))
    assert api.get("info", number=7).json()["help"].endswith("</p>\n<p>Hello user1</p>")
