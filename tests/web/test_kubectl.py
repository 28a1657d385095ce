"""How the page of a job says that kubectl reaches the job's cluster."""

from dataclasses import replace

import yaml

from kns.service.ports import ServicePorts
from kns.web.site import PREFIX
from tests.api.client import Api
from tests.builders import a_job
from tests.web.ui import Ui

PAGE = f"{PREFIX}/jobs/7"
URL = "https://kns.example.org"


def read_job(ui: Ui) -> str:
    ui.api.add(a_job().exposed())
    return ui.browser("user1").get(PAGE).text


def without_gateway(ports: ServicePorts) -> ServicePorts:
    return replace(ports, clusters=None)


def test_through_kns_a_kubeconfig_needs_only_the_key() -> None:
    text = read_job(Ui(url=URL))
    assert "kns kubeconfig 7 --gateway" in text
    assert "kns port-forward 7 service/NAME 8080:80" in text
    assert "access of your own" not in text, "kns leads there for every command"
    shown = text.partition('aria-label="Kubeconfig">')[2].partition("</pre>")[0]
    found = yaml.safe_load(shown.replace("&#34;", '"'))
    assert found["clusters"][0]["cluster"] == {"server": f"{URL}/kns/cluster/7"}
    assert found["users"][0]["user"] == {"username": "user1", "password": "YOUR-API-KEY"}
    assert "key-user1" not in text


def test_without_the_gateway_or_tls_the_host_is_needed() -> None:
    """Kubernetes clients send no credentials over plain HTTP."""
    api = Api()
    api.ports = without_gateway(api.ports)
    for text in (read_job(Ui(api, url=URL)), read_job(Ui())):
        assert "access of your own to the host cluster:" in text
        assert "kns kubeconfig 7\n" in text
        assert "--gateway" not in text
        assert "Kubeconfig" not in text
