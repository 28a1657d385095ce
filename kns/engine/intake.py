"""Accepts a record that was applied by hand, with the same checks as a submission over HTTP."""

import random

from kns.model.job.job import Accepted, Job
from kns.model.submit.submission import Terms, accept, find_app
from kns.ports import CatalogSource, JobStore


class Intake:
    def __init__(self, *, store: JobStore, catalog: CatalogSource, terms: Terms, rng: random.Random) -> None:
        self._store = store
        self._catalog = catalog
        self._terms = terms
        self._rng = rng

    def __call__(self, job: Job) -> Accepted:
        """
        The accepted part for the record.

        Raises:
            InvalidInputError: the request is not valid here.
            UnknownAppError: there is no such app or command.
        """
        catalog = self._catalog.current()
        return accept(
            job.spec,
            app=find_app(catalog, job.spec),
            catalog=catalog,
            terms=self._terms,
            now=job.created,
            rng=self._rng,
            allot_number=self._store.allot_number,
        )
