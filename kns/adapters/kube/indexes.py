"""The keys of a cache's objects by the values by which readers find them."""

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

KeptT = TypeVar("KeptT")
Key = tuple[str, str]  # namespace ("" for cluster-scoped), name
Index = Callable[[KeptT], Iterable[Hashable]]  # the values of an object in an index


class KeyIndex(Generic[KeptT]):
    """The keys of objects by the values that `read` returns for them."""

    def __init__(self, read: Index[KeptT]) -> None:
        self._read = read
        # Most values have one object, and a dict of one key needs ten times the memory of the key.
        self._keys: dict[Hashable, Key | dict[Key, None]] = {}

    def find(self, value: Hashable) -> Collection[Key]:
        found = self._keys.get(value, {})
        return (found,) if isinstance(found, tuple) else found

    def count_all(self) -> dict[str, int]:
        return {str(value): 1 if isinstance(found, tuple) else len(found) for value, found in self._keys.items()}

    def replace(self, key: Key, old: KeptT | None, new: KeptT | None) -> None:
        """Replace the object of a key. `old` or `new` is None if there is none."""
        before = set(self._read(old)) if old is not None else set()
        after = set(self._read(new)) if new is not None else set()
        for value in before - after:
            found = self._keys[value]
            if isinstance(found, dict) and len(found) > 1:
                del found[key]
            else:
                del self._keys[value]
        for value in after - before:
            known = self._keys.get(value)
            if isinstance(known, dict):
                known[key] = None
            else:
                self._keys[value] = key if known is None else {known: None, key: None}
