"""
The error type of the testbed.
"""


class TestbedError(Exception):
    """
    A failure that a person must look at. The message says what failed, why, and what to do.
    """

    __test__ = False  # pytest would collect the class because of its name
