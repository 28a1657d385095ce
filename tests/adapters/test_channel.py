"""Commands and input in a running container: what the API may answer instead of a WebSocket."""

import pytest

from kns.adapters.kube import channel
from kns.adapters.kube.client import KubeClient
from kns.model.errors import UnavailableError
from tests.adapters.api_server import ApiServer
from tests.adapters.faulty_server import Answer
from tests.patience import PATIENCE_S

PATH = "/api/v1/namespaces/rstudio/pods/one"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_input_that_is_redirected_was_not_sent(server: ApiServer, client: KubeClient, status: int) -> None:
    server.script("GET", "/attach", Answer(status, b"", {"Location": f"{server.url}/elsewhere"}))
    with pytest.raises(UnavailableError, match=r"[Rr]edirect"):
        channel.send_input(client, PATH, container="c", data=b"x", timeout_s=PATIENCE_S)
    assert [seen.path for seen in server.seen] == [f"{PATH}/attach"]


def test_an_old_library_that_takes_a_redirect_for_a_success(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """websocket-client below 1.9. Its names of headers are in lower case."""

    class Redirected:
        shutdown = send = lambda *_: None

        def getstatus(self) -> int:
            return 302

        def getheaders(self) -> dict[str, str]:
            return {"location": "https://elsewhere"}

    monkeypatch.setattr("websocket.create_connection", lambda *_, **__: Redirected())
    with pytest.raises(UnavailableError, match="the API redirects to https://elsewhere, which is not followed"):
        channel.send_input(client, PATH, container="c", data=b"x", timeout_s=PATIENCE_S)
