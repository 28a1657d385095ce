"""The keys of an AppDef with their public types, as derived from the models."""

from collections.abc import Iterator, Mapping

import pytest

from kns.model.appdef.keys import JsonType, Key, list_appdef_keys

COMMAND = "commands"
PARAMETER = "commands.parameters"


def flatten(keys: Mapping[str, Key], prefix: str = "") -> Iterator[tuple[str, Key]]:
    for name, key in keys.items():
        yield f"{prefix}{name}", key
        yield from flatten(key.keys, f"{prefix}{name}.")


KEYS = dict(flatten(list_appdef_keys()))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("name", JsonType.TEXT),
        ("licensed", JsonType.FLAG),
        ("appkind", JsonType.TEXT),
        ("vault-types", JsonType.TEXTS),
        ("scale_max", JsonType.WHOLE),
        ("variables", JsonType.MAP),
        ("variables.userowned", JsonType.FLAG),
        ("image", JsonType.OBJECT),
        ("meta", JsonType.ANY),
        (f"{COMMAND}.walltime", JsonType.TEXT),
        (f"{COMMAND}.interactive", JsonType.FLAG),
        (f"{COMMAND}.nested_kubernetes.templates", JsonType.OBJECTS),
        (f"{COMMAND}.nested_kubernetes.targets.service_port", JsonType.WHOLE),
        (f"{PARAMETER}.if", JsonType.TEXTS),
        (f"{PARAMETER}.values", JsonType.TEXTS),
        (f"{PARAMETER}.precision", JsonType.WHOLE),
        (f"{PARAMETER}.value", JsonType.ANY),
    ],
)
def test_the_type_of_a_key_is_that_of_its_field(path: str, expected: JsonType) -> None:
    assert KEYS[path].type is expected


@pytest.mark.parametrize("name", ["min", "max"])
def test_a_key_that_is_whole_for_one_type_of_parameter_and_not_for_another_is_a_number(name: str) -> None:
    assert KEYS[f"{PARAMETER}.{name}"].type is JsonType.NUMBER


@pytest.mark.parametrize("name", ["step", "size"])
def test_a_key_that_is_published_in_another_type_than_kns_reads(name: str) -> None:
    """Clients made from the published description expect strings."""
    assert KEYS[f"{PARAMETER}.{name}"].type is JsonType.TEXT


def test_keys_of_older_systems_have_types_and_are_not_read() -> None:
    ignored = {path: key.type for path, key in KEYS.items() if not key.read}
    assert ignored == {
        f"{COMMAND}.{name}": kind
        for name, kind in {
            **dict.fromkeys(("publicip", "webshell", "desktop", "mpirun", "verboseinit"), JsonType.FLAG),
            "ports": JsonType.TEXTS,
            "cmdscript": JsonType.TEXT,
        }.items()
    }


def test_required_keys_are_those_that_every_valid_appdef_has() -> None:
    """A command may spell `nested_kubernetes` in the old way; a parameter requires no key of every type."""
    assert {path for path, key in KEYS.items() if key.required and ".nested_kubernetes." not in path} == {
        *("name", "description", "author", "licensed", "appdefversion", "classifications", "machines", "vault-types"),
        *("commands", "image", "image.type", "image.data"),
        *(f"{COMMAND}.{name}" for name in ("name", "description", "path")),
    }
