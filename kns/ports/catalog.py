"""The catalogue of apps, machines and users."""

from typing import Protocol

from kns.model.catalog.catalog import Catalog


class CatalogSource(Protocol):
    def current(self) -> Catalog:
        """The newest valid version."""
        ...
