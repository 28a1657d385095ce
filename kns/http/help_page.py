"""The help page of a running job, as HTML for a portal: its URLs, its login, and the app's own help."""

from html import escape

from kns.model.job.connection import substitute
from kns.service.view import Connection


def render_help(connection: Connection) -> str:
    """
    kns's own part, followed by the app's HTML. Every value that is filled into either is escaped.

    A job without a target has no URL, and the page then has only the login.
    """
    values = {key: escape(value) for key, value in connection.substitutions.items()}
    return _render_urls(connection) + _render_login(connection) + substitute(connection.help, values)


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
