"""
The copier, for real: busybox inside a folder that holds nothing else, as in an app image built FROM scratch.

Needs root (for chroot) and a static /bin/busybox, as the init image has it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BIN_DIR = Path(__file__).resolve().parents[3] / "init-image" / "bin"
UID = 65532

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: take-templates needs root for chroot"),
    pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="NOT TESTED: take-templates needs busybox-static"),
]


class AppImage:
    """The file system that the second init container sees."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = root / "kns-templates"
        for folder in ("kns-tool", "kns-templates", "dev"):
            (root / folder).mkdir(parents=True)
        os.chown(self.out, UID, UID)
        self.log = root / "dev" / "termination-log"
        self.log.touch()
        self.log.chmod(0o666)
        subprocess.run([BIN_DIR / "kns-provide-copier", root / "kns-tool"], check=True)

    def add(self, path: str, content: str = "x\n", mode: int = 0o644) -> Path:
        """A file that belongs to root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)
        return file

    def take(self) -> subprocess.CompletedProcess[str]:
        """Run the second init container."""
        return subprocess.run(
            [
                *("/usr/sbin/chroot", f"--userspec={UID}:{UID}", "--groups=", self.root),
                *("/kns-tool/busybox", "sh", "/kns-tool/take-templates"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={},
        )


@pytest.fixture
def app(tmp_path: Path) -> Iterator[AppImage]:
    """An app image without any file, and with a restrictive umask."""
    before = os.umask(0o022)
    yield AppImage(tmp_path / "root")
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
    """A restarted pod finds its first copy, which contains read-only folders."""
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
    """Reported on standard error and in the termination message, also if there is a file of that name."""
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
    """The message has the file, the user and the solution, and is JSON for any file name."""
    app.add("templates/good.yml")
    app.add(f"templates/sub/{named}", mode=0o600)
    done = app.take()
    message = f"/templates/sub/{named} is not readable for uid 65532; make /templates world-readable"
    assert (4, f"{message}\n") == (done.returncode, done.stderr)
    assert {"result": "failed", "reason": "TemplatesUnreadable", "message": message} == json.loads(app.log.read_text())


@pytest.mark.parametrize("mode", [0o700, 0o744])
def test_an_unreadable_folder_is_exit_4(app: AppImage, mode: int) -> None:
    """Whether it cannot be listed or not entered, and also for /templates itself."""
    app.add("templates/inner/a.yml")
    (app.root / "templates/inner").chmod(mode)
    done = app.take()
    assert (done.returncode, done.stderr.startswith("/templates/inner")) == (4, True), done.stderr
    (app.root / "templates").chmod(mode)
    done = app.take()
    assert (done.returncode, done.stderr.startswith("/templates")) == (4, True)


def test_a_volume_that_cannot_be_written_is_exit_5(app: AppImage) -> None:
    """The app did not cause this, and the message does not blame it."""
    app.add("templates/a.yml")
    os.chown(app.out, 0, 0)
    done = app.take()
    assert done.returncode == 5
    message = "cannot create /kns-templates/templates; is the volume mounted and writable for uid 65532?"
    assert message in done.stderr
    assert json.loads(app.log.read_text())["reason"] == "TemplatesNotCopied"


def test_a_lost_termination_log_keeps_the_exit_code(app: AppImage) -> None:
    """Standard error then has both messages."""
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
    """Wrong usage is reported and not mistaken for a copy."""
    done = subprocess.run([BIN_DIR / "kns-provide-copier"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (64, "usage: kns-provide-copier DIR\n")
