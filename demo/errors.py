"""The errors that the demo expects."""

from kns.client import ClientError


class DemoError(Exception):
    """A person must act. The message says what was tried, what came back, and what to do next."""


FAILURES = (DemoError, ClientError)  # a step of the demo, or a call of kns
