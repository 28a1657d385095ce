"""
The copier, for real: busybox inside a folder that holds nothing else, as in an app image built FROM scratch.

Needs root (for chroot) and a static /bin/busybox, as the init image has it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kns.objects.init import TAKEN_MARK

BIN_DIR = Path(__file__).resolve().parents[3] / "init-image" / "bin"
UID = 65532

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: take-templates needs root for chroot"),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="NOT TESTED: take-templates needs busybox-static"),
]


class AppImage:
    """
    The file system of the container that takes the templates: the app image, or the init image with the app image below
    `mounted`.
    """

    def __init__(self, container: Path, *, mounted: str = "") -> None:
        self._container, self._mounted = container, mounted
        self.root = container / mounted.lstrip("/")
        self.out = container / "kns-templates"
        for folder in ("kns-tool", "kns-templates", "dev", mounted.lstrip("/")):
            (container / folder).mkdir(parents=True, exist_ok=True)
        os.chown(self.out, UID, UID)
        self.log = container / "dev" / "termination-log"
        self.log.touch()
        self.log.chmod(0o666)
        subprocess.run([BIN_DIR / "kns-provide-copier", container / "kns-tool"], check=True)
        if mounted:
            (container / "bin").mkdir()
            (container / "bin/busybox").hardlink_to(container / "kns-tool/busybox")

    def add(self, path: str, content: str = "x\n", mode: int = 0o644) -> Path:
        """A file that belongs to root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)
        return file

    def take(self) -> subprocess.CompletedProcess[str]:
        """Take the templates as the user of the init pod."""
        return subprocess.run(
            [
                *("/usr/sbin/chroot", f"--userspec={UID}:{UID}", "--groups=", self._container),
                *("/kns-tool/busybox", "sh", "/kns-tool/take-templates", *filter(None, [self._mounted])),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={},
        )


@pytest.fixture(params=["", "/kns-app"], ids=["runs", "is mounted"])
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppImage]:
    """An app image without any file of its own, and no umask to help."""
    before = os.umask(0o022)
    yield AppImage(tmp_path / "root", mounted=request.param)
    os.umask(before)


def test_templates_and_help_come_out_of_an_empty_image(app: AppImage) -> None:
    """Folders, hidden files, spaces, executables and links inside are all there."""
    app.add("templates/web.yml", "kind: x\n")
    app.add("templates/charts/a b/.hidden", "deep\n")
    app.add("templates/run.sh", mode=0o755)
    (app.root / "templates/link").symlink_to("web.yml")
    (app.root / "templates/dangling").symlink_to("/opt/none")
    app.add("etc/NAE/help.html", "<p>Hello</p>")
    done = app.take()
    assert (done.returncode, done.stdout, done.stderr) == (0, "--- /etc/NAE/help.html\n<p>Hello</p>", "")
    copy = app.out / "templates"
    assert "kind: x\n" == (copy / "web.yml").read_text() == (copy / "link").read_text()
    assert (copy / "charts/a b/.hidden").read_text() == "deep\n"
    assert (copy / "run.sh").stat().st_mode & 0o777 == 0o755
    assert str((copy / "dangling").readlink()) == "/opt/none"
    assert app.log.read_text() == ""


def test_a_second_run_starts_afresh(app: AppImage) -> None:
    """A restarted pod finds its first copy there, read-only folders in it too."""
    app.add("templates/ro/a.yml", mode=0o444)
    (app.root / "templates/ro").chmod(0o555)
    assert app.take().returncode == 0
    (app.root / "templates/ro/a.yml").rename(app.root / "templates/ro/b.yml")
    (app.out / "templates/ro").chmod(0o555)
    assert app.take().returncode == 0
    assert [path.name for path in (app.out / "templates/ro").iterdir()] == ["b.yml"]


def test_the_copy_can_be_changed_by_the_items(app: AppImage) -> None:
    """`helm dependency build` writes into the chart's folder."""
    app.add("templates/charts/Chart.yaml", mode=0o444)
    (app.root / "templates/charts").chmod(0o555)
    assert app.take().returncode == 0
    copy = app.out / "templates/charts"
    assert [path.stat().st_mode & 0o777 for path in (copy, copy / "Chart.yaml")] == [0o755, 0o644]
    assert copy.stat().st_uid == UID


def test_no_templates_folder_is_exit_3(app: AppImage) -> None:
    """Said on standard error and in the termination message; a file of that name does not count."""
    app.add("templates", "a file")
    done = app.take()
    assert (done.returncode, done.stderr) == (3, "app image has no /templates folder\n")
    assert json.loads(app.log.read_text()) == {
        "result": "failed",
        "reason": "TemplatesMissing",
        "message": "app image has no /templates folder",
    }


@pytest.mark.parametrize("named", ["secret.yml", 'it\'s "odd".yml', "a\\b.yml"])
def test_an_unreadable_file_is_exit_4(app: AppImage, named: str) -> None:
    """The message names the file, the user and the remedy, and is JSON whatever the name is."""
    app.add("templates/good.yml")
    app.add(f"templates/sub/{named}", mode=0o600)
    done = app.take()
    message = f"/templates/sub/{named} is not readable for uid 65532; make /templates world-readable"
    assert (4, f"{message}\n") == (done.returncode, done.stderr)
    assert {"result": "failed", "reason": "TemplatesUnreadable", "message": message} == json.loads(app.log.read_text())


@pytest.mark.parametrize("mode", [0o700, 0o744])
def test_an_unreadable_folder_is_exit_4(app: AppImage, mode: int) -> None:
    """Whether it cannot be listed or only not entered; also /templates itself."""
    app.add("templates/inner/a.yml")
    (app.root / "templates/inner").chmod(mode)
    done = app.take()
    assert (done.returncode, done.stderr.startswith("/templates/inner")) == (4, True), done.stderr
    (app.root / "templates").chmod(mode)
    done = app.take()
    assert (done.returncode, done.stderr.startswith("/templates")) == (4, True)


def test_a_volume_that_cannot_be_written_is_exit_5(app: AppImage) -> None:
    """It is not the app's fault, and the message does not say so."""
    app.add("templates/a.yml")
    os.chown(app.out, 0, 0)
    done = app.take()
    assert done.returncode == 5
    message = "cannot create /kns-templates/templates; is the volume mounted and writable for uid 65532?"
    assert message in done.stderr
    assert json.loads(app.log.read_text())["reason"] == "TemplatesNotCopied"


def test_a_lost_termination_log_keeps_the_exit_code(app: AppImage) -> None:
    """Standard error then says both."""
    app.log.unlink()
    done = app.take()
    assert done.returncode == 3
    assert "app image has no /templates folder\n" in done.stderr
    assert "cannot write /dev/termination-log" in done.stderr


def test_a_long_help_page_is_cut(app: AppImage) -> None:
    """64 KiB, and a warning for the author."""
    app.add("templates/a.yml")
    app.add("etc/NAE/help.html", "h" * 65_537)
    done = app.take()
    warning, _, page = done.stdout.partition("--- /etc/NAE/help.html\n")
    assert (done.returncode, warning, page) == (0, "warning: /etc/NAE/help.html cut to 65536 bytes\n", "h" * 65_536)


def test_an_unreadable_help_page_is_left_out(app: AppImage) -> None:
    """The app still deploys."""
    app.add("templates/a.yml")
    app.add("etc/NAE/help.html", mode=0o600)
    done = app.take()
    assert (done.returncode, "/etc/NAE/help.html left out" in done.stdout) == (0, True)
    assert "---" not in done.stdout
    assert [path.name for path in app.out.iterdir()] == ["templates"]


def test_provide_copier_wants_one_folder() -> None:
    """Wrong usage is said and is not mistaken for a copy."""
    done = subprocess.run([BIN_DIR / "kns-provide-copier"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (64, "usage: kns-provide-copier DIR\n")


@pytest.mark.parametrize("link", ["/opt/lab/templates", "opt/lab/templates", "/opt/second"])
def test_a_link_to_the_templates_is_followed_inside_the_image(app: AppImage, link: str) -> None:
    """An absolute link means a path of the app image, also where that is mounted somewhere else."""
    app.add("opt/lab/templates/web.yml", "kind: x\n")
    app.add("opt/lab/help.html", "<p>Hello</p>")
    (app.root / "opt/second").symlink_to("lab/templates")
    (app.root / "templates").symlink_to(link)
    (app.root / "etc/NAE").mkdir(parents=True)
    (app.root / "etc/NAE/help.html").symlink_to("/opt/lab/help.html")
    done = app.take()
    assert (done.returncode, done.stdout) == (0, "--- /etc/NAE/help.html\n<p>Hello</p>"), done.stderr
    assert (app.out / "templates/web.yml").read_text() == "kind: x\n"


@pytest.mark.parametrize("link", ["/templates", "/no/such/folder"])
def test_a_link_that_leads_nowhere_is_exit_3(app: AppImage, link: str) -> None:
    (app.root / "templates").symlink_to(link)
    done = app.take()
    assert (done.returncode, done.stderr) == (3, "app image has no /templates folder\n")


def test_take_and_run_marks_where_the_output_begins(tmp_path: Path) -> None:
    """A failure leaves no mark, keeps the exit code of the taking, and starts no runner."""
    for name, code in (("good", 0), ("bad", 4)):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(BIN_DIR / "kns-take-and-run", folder)
        (folder / "take-templates").write_text(f"echo taking from $1; exit {code}\n")
        (folder / "python3").write_text("#!/bin/sh\necho runner $*\n")
        (folder / "python3").chmod(0o755)
        done = subprocess.run(
            [folder / "kns-take-and-run", "/kns-app"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{folder}:/usr/bin:/bin"},
        )
        taken, mark, output = done.stdout.partition(TAKEN_MARK)
        assert (done.returncode, taken.strip()) == (code, "taking from /kns-app")
        assert (bool(mark), output) == ((True, "runner -I -B /opt/kns-init\n") if code == 0 else (False, ""))
    usage = subprocess.run([BIN_DIR / "kns-take-and-run"], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr) == (64, "usage: kns-take-and-run ROOT\n")
