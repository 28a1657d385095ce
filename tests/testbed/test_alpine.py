"""The stand-in for Alpine does what vcluster asks of it: else no pod of a headless Service learns its whole name."""

import shutil
import subprocess

import pytest

from testbed import paths

# vcluster 0.36, pod web-0 of Service web.
REWRITE = r"sed -E -e 's/^(\d+.\d+.\d+.\d+\s+)web-0$/\1 web-0.web.default.svc.cluster.local web-0/'"


@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox, which `make up` installs")
@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        pytest.param("10.244.0.13\tweb-0\n", "10.244.0.13\t web-0.web.default.svc.cluster.local web-0\n", id="its own"),
        pytest.param("127.0.0.1\tlocalhost\n", "127.0.0.1\tlocalhost\n", id="another line"),
    ],
)
def test_the_pod_s_line_of_the_hosts_file_gets_its_whole_name(line: str, rewritten: str) -> None:
    argv = ["busybox", "sh", str(paths.SOURCE / "alpine-sh.sh"), "-c", REWRITE]
    assert subprocess.run(argv, input=line, capture_output=True, text=True, check=True).stdout == rewritten
