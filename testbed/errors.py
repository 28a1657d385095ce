"""
The one error that the testbed raises on purpose.
"""


class TestbedError(Exception):
    """
    Something that a person must look at. The text says what was tried, what came back and what to do next.
    """

    __test__ = False  # pytest would otherwise take the name for a test class
