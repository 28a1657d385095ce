"""Profiles of users and groups, and resource profiles."""

import ctypes
import dataclasses
import grp
import json
import os
import pwd
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from kns.launcher.config.groups import _LIBRARY, RememberedGroups, list_group_numbers, list_groups
from kns.launcher.config.problems import Problem
from kns.launcher.config.profiles import ProfileFile, read_profiles
from kns.launcher.ports import ResourceLimit
from kns.model.errors import UnavailableError
from tests.patience import PATIENCE_S

# The example of the documents.
EXAMPLE = """
[*]
placement-constraints=node,region:us,region:eu
default-cpus=1
default-mem-mb=512
max-cpus=2
max-mem-mb=1024
container-images=r-session:3.4.2,r-session:3.5.0
allow-unknown-images=0
[@rstudio-power-users]
default-cpus=4
default-mem-mb=4096
default-nvidia-gpus=0
default-amd-gpus=0
max-nvidia-gpus=2
max-amd-gpus=3
max-cpus=20
max-mem-mb=20480
container-images=r-session:3.4.2,r-session:3.5.0,r-session:preview
allow-unknown-images=1
[jsmith]
max-cpus=3
"""
GROUPS: Mapping[str, tuple[str, ...]] = {"power": ("users", "rstudio-power-users"), "jsmith": ("rstudio-power-users",)}


class Profiles:
    """Files in a folder, and what reading them found."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "launcher.kubernetes.profiles.conf"
        self.resources = folder / "launcher.kubernetes.resources.conf"
        self.problems: list[Problem] = []

    def read(self, text: str | None = None, *, nested: bool = False) -> ProfileFile:
        if text is not None:
            self.path.write_text(text)
        found = read_profiles(self.path, self.resources, self.problems, must_exist=False, nested=nested)
        return dataclasses.replace(found, groups=lambda user: GROUPS.get(user, ()))

    def said(self, text: str) -> list[str]:
        self.read(text)
        return [str(problem).replace(f"{self.path.parent}/launcher.kubernetes.", "") for problem in self.problems]


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles(tmp_path)


def limit(file: ProfileFile, user: str, kind: str) -> ResourceLimit:
    return next(each for each in file.for_user(user).limits if each.type == kind)


@pytest.mark.parametrize(
    ("user", "default", "most"),
    [("ann", "1", "2"), ("power", "4", "20"), ("jsmith", "3", "3"), ("*", "1", "2"), ("", "1", "2")],
)
def test_p20_sections_apply_from_top_to_bottom(profiles: Profiles, user: str, default: str, most: str) -> None:
    """The default of jsmith's group is above his own maximum, so he gets his maximum."""
    file = profiles.read(EXAMPLE)

    assert limit(file, user, "cpuCount") == ResourceLimit("cpuCount", default, most)
    assert profiles.problems == []


def test_p20_a_later_section_wins_even_if_it_is_less_specific(profiles: Profiles) -> None:
    file = profiles.read("[ann]\nmax-cpus=9\n[*]\nmax-cpus=2\n")

    assert limit(file, "ann", "cpuCount").maximum == "2"


def test_p20_a_user_called_like_a_group_is_not_the_group(profiles: Profiles) -> None:
    file = profiles.read("[@rstudio-power-users]\nmax-cpus=9\n[rstudio-power-users]\nmax-cpus=2\n")

    assert limit(file, "power", "cpuCount").maximum == "9"
    assert limit(file, "rstudio-power-users", "cpuCount").maximum == "2"


def test_p07_without_a_file_everything_is_allowed(profiles: Profiles) -> None:
    profile = profiles.read().for_user("ann")

    assert profile.allow_unknown_images
    assert profile.images == ()
    assert profile.limits == (
        ResourceLimit("cpuCount"),
        ResourceLimit("memory"),
        ResourceLimit("NVIDIA GPUs", "", "0"),
        ResourceLimit("AMD GPUs", "", "0"),
    )
    assert (profile.cpu_request_ratio, profile.memory_request_ratio) == (1.0, 1.0)
    assert not profile.nested


def test_p21_p22_p23_images(profiles: Profiles) -> None:
    profile = profiles.read(EXAMPLE + "default-container-image = r-session:3.5.0\n").for_user("jsmith")

    assert profile.images == ("r-session:3.4.2", "r-session:3.5.0", "r-session:preview")
    assert profile.default_image == "r-session:3.5.0"
    assert profile.allow_unknown_images
    assert not profiles.read().for_user("ann").allow_unknown_images


def test_p24_placement_constraints_are_choices_or_free(profiles: Profiles) -> None:
    assert profiles.read(EXAMPLE).for_user("ann").constraints == (
        ("node", None), ("region", "us"), ("region", "eu"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "default", "most"),
    [
        ("default-cpus=0.0", "", ""),  # P26: no limit
        ("default-cpus=0.5", "0.5", ""),
        ("max-cpus=2", "2", "2"),  # P27: a job without a limit would be above the maximum
        ("default-cpus=1\nmax-cpus=0", "1", ""),
    ],
)
def test_p26_p27_zero_means_no_limit(profiles: Profiles, text: str, default: str, most: str) -> None:
    assert limit(profiles.read(f"[*]\n{text}\n"), "ann", "cpuCount") == ResourceLimit("cpuCount", default, most)


def test_p28_ratios(profiles: Profiles) -> None:
    profile = profiles.read("[*]\ncpu-request-ratio=0.5\nmemory-request-ratio=.25\n").for_user("ann")

    assert (profile.cpu_request_ratio, profile.memory_request_ratio) == (0.5, 0.25)


def test_p29_gpus_are_none_unless_a_maximum_says_otherwise(profiles: Profiles) -> None:
    file = profiles.read("[*]\ndefault-nvidia-gpus=1\n[@rstudio-power-users]\nmax-nvidia-gpus=2\n")

    assert limit(file, "ann", "NVIDIA GPUs") == ResourceLimit("NVIDIA GPUs", "", "0")
    assert limit(file, "power", "NVIDIA GPUs") == ResourceLimit("NVIDIA GPUs", "1", "2")


def test_p42_requests_of_later_versions(profiles: Profiles) -> None:
    profiles.resources.write_text("[small]\ncpus=1\n")
    file = profiles.read("[*]\ndefault-cpus-request=0.5\nmax-mem-mb-request=64\nallow-custom-resources=0\n")

    assert limit(file, "ann", "CPU Request") == ResourceLimit("CPU Request", "0.5", "")
    assert limit(file, "ann", "Memory Request") == ResourceLimit("Memory Request", "", "64")
    assert not file.for_user("ann").allow_custom_resources
    assert profiles.problems == []


def test_p43_resource_profiles(profiles: Profiles) -> None:
    profiles.resources.write_text(
        "[large]\nname=Large\ncpus=8\nmem-mb=4096\nnvidia-gpus=1\nplacement-constraints=gpu:yes\n"
        "[default]\ncpus=1\ncpus-request=0.5\nmem-mb=512\nmem-mb-request=256\namd-gpus=0\n"
    )

    default, large = profiles.read("[*]\n[ann]\nresource-profiles=default\n").for_user("bob").resource_profiles

    assert (default.name, default.display_name) == ("default", "default")
    assert dict(default.limits) == {
        "cpuCount": "1", "CPU Request": "0.5", "memory": "512", "Memory Request": "256",
    }  # fmt: skip
    assert (large.name, large.display_name, large.constraints) == ("large", "Large", (("gpu", "yes"),))
    assert dict(large.limits) == {"cpuCount": "8", "memory": "4096", "NVIDIA GPUs": "1"}
    assert [each.name for each in profiles.read().for_user("ann").resource_profiles] == ["default"]
    assert profiles.problems == []


def test_nested_by_the_main_file_and_by_profile(profiles: Profiles) -> None:
    text = "[@rstudio-power-users]\nnested=1\n[jsmith]\nnested=0\n"

    file = profiles.read(text)

    assert [file.for_user(user).nested for user in ("ann", "power", "jsmith")] == [False, True, False]
    file = profiles.read(text, nested=True)
    assert [file.for_user(user).nested for user in ("ann", "power", "jsmith")] == [True, True, False]


def test_p42_without_a_resource_profile_no_job_could_run(profiles: Profiles) -> None:
    (problem,) = profiles.said("[*]\nallow-custom-resources=0\n")

    assert problem.startswith("profiles.conf:2: allow-custom-resources: is 0, and there is no resource profile")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max-cpu=2", "profiles.conf:2: max-cpu: is not a setting of [*]; did you mean max-cpus?"),
        ("max-cpus=-1", "profiles.conf:2: max-cpus: must be a number from 0 (no limit) to 100000, not '-1'"),
        ("max-cpus=nan", "profiles.conf:2: max-cpus: must be a number from 0 (no limit) to 100000, not 'nan'"),
        ("max-cpus=1e3", "profiles.conf:2: max-cpus: must be a number from 0 (no limit) to 100000, not '1e3'"),
        ("cpu-request-ratio=0", "profiles.conf:2: cpu-request-ratio: must be a number above 0.0 and at most 1.0, "
         "not '0'"),
        ("memory-request-ratio=1.5", "profiles.conf:2: memory-request-ratio: must be a number above 0.0 and at most "
         "1.0, not '1.5'"),
        ("max-amd-gpus=0.5", "profiles.conf:2: max-amd-gpus: must be a whole number from 0 to 10000, not '0.5'"),
        ("allow-unknown-images=2", "profiles.conf:2: allow-unknown-images: must be 0 or 1, not '2'"),
        ("placement-constraints=a b", "profiles.conf:2: placement-constraints: 'a b' is not the key of a node label"),
        ("placement-constraints=a:b c", "profiles.conf:2: placement-constraints: 'b c' is not the value of a node "
         "label"),
        ("resource-profiles=huge", "profiles.conf:2: resource-profiles: there is no resource profile 'huge'; known "
         "are "),
        ("job-json-overrides=/a:/b", 'profiles.conf:2: job-json-overrides: must be at most 200 pairs '
         '"/json/pointer":"/path/to/file", comma-separated'),
        ('job-json-overrides="a":"/b"', "profiles.conf:2: job-json-overrides: 'a' is not a JSON pointer such as "
         "/spec/template/spec/hostAliases"),
        ('job-json-overrides="/a":"/no/file"', "profiles.conf:2: job-json-overrides: /no/file of /a cannot be read: No "
         "such file or directory"),
        ('job-json-overrides="/a":"/dev/null"', "profiles.conf:2: job-json-overrides: /dev/null of /a is not JSON: "
         "Expecting value: line 1 column 1 (char 0)"),
        ('job-json-overrides="/a":"/dev/zero"', "profiles.conf:2: job-json-overrides: /dev/zero of /a is not JSON: it "
         "is larger than 1048576 bytes"),
    ],
)  # fmt: skip
def test_p32_a_wrong_value_names_file_line_key_and_what_is_allowed(profiles: Profiles, text: str, problem: str) -> None:
    assert [problem] == profiles.said(f"[*]\n{text}\n")


def test_a_key_above_every_heading_is_a_problem(profiles: Profiles) -> None:
    assert profiles.said("max-cpus=2\n") == [
        "profiles.conf:1: max-cpus: is above the first heading; write [*] before it"
    ]


def test_wrong_resource_profiles_are_problems(profiles: Profiles) -> None:
    profiles.resources.write_text("cpus=1\n[a]\ncpu=1\n[a]\nplacement-constraints=zone\n")

    assert profiles.said("") == [
        "resources.conf:1: cpus: is above the first heading; write [default] before it",
        "resources.conf:3: cpu: is not a setting of [a]; did you mean cpus?",
        "resources.conf:4: [a]: exists twice",
        "resources.conf:4: placement-constraints: zone needs a value here",
    ]


def test_p30_p31_overrides_are_read_and_warned_of(profiles: Profiles, tmp_path: Path) -> None:
    aliases = [{"ip": "10.2.141.12", "hostnames": ["db01"]}]
    (tmp_path / "aliases").write_text(json.dumps(aliases))
    (tmp_path / "name").write_text('"other"')

    file = profiles.read(
        f'[*]\njob-json-overrides="/spec/template/spec/hostAliases":"{tmp_path}/aliases",'
        f'"/spec/template/metadata/annotations/name":"{tmp_path}/name"\n'
    )

    assert file.for_user("ann").json_overrides == (
        ("/spec/template/spec/hostAliases", aliases),
        ("/spec/template/metadata/annotations/name", "other"),
    )
    assert [(warning.line, warning.said) for warning in file.warnings] == [
        (2, "is deprecated; use templates (use-templating=1)"),
        (2, "/spec/template/metadata/annotations/name replaces what the plugin needs; add fields only"),
    ]


def test_groups_are_those_of_the_operating_system() -> None:
    assert "root" in list_groups("root")
    assert list_groups("nobody-of-this-name") == ()
    assert list_groups("a\0b") == ()


def test_groups_are_complete_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with groups beside the first, on any system."""
    user = max((each.pw_name for each in pwd.getpwall()), key=lambda name: len(set(_numbers(name))))
    assert sorted(list_group_numbers(user, pwd.getpwnam(user).pw_gid)) == sorted(_numbers(user))
    monkeypatch.setattr("kns.launcher.config.groups.MAX_GROUPS", 1)
    assert list(list_group_numbers("root", 7)) == [7], "the primary group comes first"


def test_a_lookup_lets_other_threads_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.getgrouplist` and `ctypes.PyDLL` hold the interpreter's lock: no heartbeat would be sent meanwhile."""
    monkeypatch.delattr("os.getgrouplist")
    assert "root" in list_groups("root")
    assert not isinstance(_LIBRARY, ctypes.PyDLL)


def _numbers(user: str) -> list[int]:
    return os.getgrouplist(user, pwd.getpwnam(user).pw_gid)


_WAIT = "kns.launcher.config.groups._MOST_WAIT_S"


@pytest.fixture(autouse=True)
def _has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need it to start a thread."""
    monkeypatch.setattr(_WAIT, PATIENCE_S)


class Directory:
    """A directory service. Questions about users whose names begin with `late` wait until `answers` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def __call__(self, user: str) -> tuple[str, ...]:
        if user.startswith("late"):
            self.answers.wait(PATIENCE_S)
        return ("interns",)


@pytest.fixture
def directory() -> Iterator[Directory]:
    directory = Directory()
    yield directory
    directory.answers.set()


def test_a_directory_that_hangs_gives_nobody_more_rights(
    profiles: Profiles, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles.path.write_text("[*]\nmax-cpus=64\n[@interns]\nmax-cpus=1\n")
    read = read_profiles(profiles.path, profiles.resources, profiles.problems, must_exist=True)
    file = dataclasses.replace(read, groups=RememberedGroups(directory))
    directory.answers.set()
    assert limit(file, "late-ann", "cpuCount").maximum == "1"
    directory.answers.clear()
    monkeypatch.setattr(_WAIT, 0.0)
    with structlog.testing.capture_logs() as logs:
        assert limit(file, "late-ann", "cpuCount").maximum == "1", "by the last known groups"
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"groups of 'late-bob' are not known: .* does not answer"):
                file.for_user("late-bob")
    assert [(each["user"], each["consequence"]) for each in logs] == [
        ("late-ann", "the last known groups are used"),
        ("late-bob", "requests that need the groups fail"),
    ]
    monkeypatch.setattr(_WAIT, PATIENCE_S)
    assert limit(file, "bob", "cpuCount").maximum == "1", "others are asked about"


def test_lookups_that_hang_are_bounded_and_their_late_answers_are_remembered(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = RememberedGroups(directory)
    assert groups("ann") == ("interns",)
    monkeypatch.setattr(_WAIT, 0.0)
    for number in range(20):
        for _ in range(2):
            with pytest.raises(UnavailableError):
                groups(f"late-{number}")
    late = groups._lookups.copy()
    assert list(late) == [f"late-{number}" for number in range(8)]
    assert groups("ann") == ("interns",)
    assert groups._lookups == late, "ann is not asked about"
    monkeypatch.setattr(_WAIT, PATIENCE_S)
    directory.answers.set()
    for lookup in late.values():
        lookup.answer.result(PATIENCE_S)
    assert set(groups._known) == {"ann", *late}
    assert groups("late-19") == ("interns",), "there is room again"


def test_a_user_is_looked_up_again_after_a_lookup_that_never_ends(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = RememberedGroups(directory)
    monkeypatch.setattr(_WAIT, 0.0)
    with pytest.raises(UnavailableError):
        groups("late-ann")
    monkeypatch.setattr("kns.launcher.config.groups._LOST_S", 0.0)
    monkeypatch.setattr(_WAIT, PATIENCE_S)
    monkeypatch.setattr(groups, "_ask", lambda _: ("staff",))
    assert groups("late-ann") == ("staff",)
    directory.answers.set()
    for thread in threading.enumerate():
        if thread.name == "groups":  # the first lookup ends after all
            thread.join(PATIENCE_S)
    assert groups._threads == 0
    assert groups("late-ann") == ("staff",)


def test_lookups_that_never_end_are_bounded(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kns.launcher.config.groups._LOST_S", 0.0)
    monkeypatch.setattr(_WAIT, 0.0)
    groups = RememberedGroups(directory)
    for _ in range(100):
        with pytest.raises(UnavailableError):
            groups("late-ann")
    assert groups._threads == 64


def test_groups_that_the_library_cannot_list_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the list as it was, full of zeros: that would be the group of root."""

    class Broken:
        def getgrouplist(self, *_: object) -> int:
            return -1

    monkeypatch.setattr("kns.launcher.config.groups._LIBRARY", Broken())
    with pytest.raises(UnavailableError, match="does not answer"):
        RememberedGroups()("root")


def test_an_error_of_a_lookup_reaches_its_caller_and_leaves_room() -> None:
    def fail(_: str) -> tuple[str, ...]:
        raise OSError("broken")

    groups = RememberedGroups(fail)
    for _ in range(10):
        with pytest.raises(OSError, match="broken"):
            groups("ann")


def test_a_group_restricts_while_the_directory_does_not_answer(
    profiles: Profiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system says the same of an unknown user, and whoever has no group has the rights of everybody."""
    monkeypatch.setattr("pwd.getpwnam", lambda user: pwd.struct_passwd((user, "x", 1, 1, "", "/", "/bin/sh")))
    monkeypatch.setattr("kns.launcher.config.groups.list_group_numbers", lambda *_: [1])
    monkeypatch.setattr("grp.getgrgid", lambda _: grp.struct_group(("interns", "x", 1, [])))
    profiles.path.write_text("[*]\nmax-cpus=64\n[@interns]\nmax-cpus=1\n")
    file = read_profiles(profiles.path, profiles.resources, profiles.problems, must_exist=True)
    assert limit(file, "ann", "cpuCount").maximum == "1"

    def fail(user: str) -> None:
        raise KeyError(f"getpwnam(): name not found: {user!r}")

    monkeypatch.setattr("pwd.getpwnam", fail)
    with structlog.testing.capture_logs() as logs:
        found = [limit(file, user, "cpuCount").maximum for user in ("ann", "ann", "bob", "bob")]
    assert found == ["1", "1", "64", "64"]
    assert [(each["event"], each["user"], each["consequence"]) for each in logs] == [
        ("groups_unknown", "ann", "the last known groups are used"),
        ("groups_unknown", "bob", "no section of a group applies, and templates that ask for the groups fail"),
    ]


def test_groups_of_a_directory_that_answers_again_are_the_new_ones() -> None:
    answers = {"ann": ("old",)}
    groups = RememberedGroups(lambda user: answers.get(user, ()))
    assert groups("ann") == ("old",)
    for _ in range(2):
        answers.clear()
        with structlog.testing.capture_logs() as logs:
            groups("ann")
        assert len(logs) == 1, "each time that it is lost"
        answers["ann"] = ("new",)
        assert groups("ann") == ("new",)


def test_what_is_remembered_of_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may name anybody."""
    monkeypatch.setattr("kns.launcher.config.groups._MOST_USERS", 2)
    monkeypatch.setattr("kns.launcher.config.groups._MOST_UNKNOWN", 2)
    answers = dict.fromkeys("abc", ("group",))
    groups = RememberedGroups(lambda user: answers.get(user, ()))
    for name in "abc":
        groups(name)
    answers.clear()
    assert [groups(name) for name in "abc"] == [(), ("group",), ("group",)]
    with structlog.testing.capture_logs() as logs:
        for name in "defg":
            groups(name)
    assert len(logs) == 1, "a has been one of the two"
    assert (len(groups._known), len(groups._lost), len(groups._unknown)) == (2, 2, 2)
