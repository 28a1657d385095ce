"""
Texts that a user controls, and how they get into YAML without changing its structure.

A template may print a value as it is: `name: {{ .Job.name }}`. A line break or a quote in it would then end its place,
and the rest could add fields to the pod. So a text that could do this is printed as a mask, a random word. After the
YAML is parsed, each mask is replaced by the text. Harmless texts are printed as they are, so that numbers stay numbers.

A function's result is a user's text if an argument is one, unless the function quotes its result.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Self, SupportsIndex

from kns.launcher.templates.errors import TemplateError

# Letters, digits and marks that mean nothing to YAML at their place: no colon before a space or at the end, no
# leading dash or space. A question mark, a hash, quotes and brackets are never harmless.
_HARMLESS = re.compile(r"[\w./+=~][\w./+=~@()-]*(?:(?: |:(?=[^ ]))[\w./+=~@()-]+)*", re.ASCII)
_MAX_DEPTH = (
    64  # of lists and objects in one another; those of a job have about 40. A level takes two of Python's frames
)


class Masks:
    """The masks of one rendering."""

    def __init__(self) -> None:
        self._word = f"kns{secrets.token_hex(8)}x"
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._pattern = re.compile(rf"{self._word}(\d{{6,}})x")

    def mask(self, text: str) -> str:
        """A word that stands for the text."""
        number = self._numbers.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return f"{self._word}{number:06d}x"

    def reveal(self, value: Any, file: str) -> Any:
        """
        A parsed value with all texts in their places.

        Raises:
            TemplateError: a template cut a mask, for example by `trunc`.
        """
        if isinstance(value, str):
            return self.reveal_text(value, file)
        if isinstance(value, list):
            return [self.reveal(item, file) for item in value]
        if isinstance(value, dict):
            return {self.reveal(key, file): self.reveal(item, file) for key, item in value.items()}
        return value

    def show(self, text: str) -> str:
        """A text for people, with what the masks stand for."""
        return self._pattern.sub(lambda match: self._texts[int(match[1])], text)

    def reveal_text(self, text: str, file: str) -> str:
        parts = self._pattern.split(text)
        if any(self._word in part.lower() for part in parts[0::2]):
            raise TemplateError(file, 0, "changes the result of an include with a user's text; use toYaml in it")
        return "".join(part if position % 2 == 0 else self._texts[int(part)] for position, part in enumerate(parts))


class _WithMasks(str):
    masks: Masks

    def __new__(cls, text: str, masks: Masks) -> Self:
        made = super().__new__(cls, text)
        made.masks = masks
        return made


class UserText(_WithMasks):
    """A user's text. Printed by itself, it becomes a mask unless it is harmless."""

    def __str__(self) -> str:
        """What the engine prints."""
        text = plain(self)
        return text if is_harmless(text) else self.masks.mask(text)

    def __getitem__(self, key: SupportsIndex | slice) -> "UserText":
        return UserText(str.__getitem__(self, key), self.masks)

    def __iter__(self) -> Iterator["UserText"]:
        return (UserText(character, self.masks) for character in plain(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> "UserText":
        del memo
        return self


class QuotedText(_WithMasks):
    """What a function made of a user's text to be printed as it is. What decodes it makes a user's text again."""


def is_harmless(text: str) -> bool:
    """
    Whether YAML reads the text as one plain scalar wherever it stands.

    >>> [is_harmless(text) for text in ("", "repo/image:1.2", "a b", "- a", "a: b", "a #b", "a\\nb", 'a"', "{a")]
    [True, True, True, False, False, False, False, False, False]
    """
    return not text or _HARMLESS.fullmatch(text) is not None


def mark(value: Any, masks: Masks, depth: int = 0, *, kind: type[UserText | QuotedText] = UserText) -> Any:
    """A copy of a JSON value whose texts are user's texts, or quoted ones."""
    if isinstance(value, UserText):
        return value
    if isinstance(value, str):
        return kind(value, masks)
    _check_depth(depth)
    if isinstance(value, Mapping):
        return {mark(key, masks, kind=kind): mark(item, masks, depth + 1, kind=kind) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mark(item, masks, depth + 1, kind=kind) for item in value]
    return value


def _check_depth(depth: int) -> None:
    """A text that is too deep to be marked could leave its place."""
    if depth > _MAX_DEPTH:
        raise TemplateError("", 0, f"a value has more than {_MAX_DEPTH} lists and objects in one another")


def find_masks(value: Any, depth: int = 0, *, quoted: bool = False) -> Masks | None:
    """The masks of the first user's text in a value, or with `quoted` also of a quoted one; None if there is none."""
    if isinstance(value, UserText) or (quoted and isinstance(value, QuotedText)):
        return value.masks
    _check_depth(depth)
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            if (found := find_masks(item, depth + 1, quoted=quoted)) is not None:
                return found
    return None


def plain(value: Any) -> Any:
    """A text, or a list of texts, without marks. Other values stay as they are."""
    if isinstance(value, (UserText, QuotedText)):
        return str.__str__(value)
    if isinstance(value, list):
        return [plain(item) if isinstance(item, (UserText, QuotedText, list)) else item for item in value]
    return value
