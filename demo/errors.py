"""The error that the demo raises on purpose."""


class DemoError(Exception):
    """Something that a person must look at: what was tried, what came back, what to do next."""
