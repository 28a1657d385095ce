"""
The public API, as published JARVICE clients use it. Its routes read and write job records and do no work on jobs.
"""

from kns.api.jarvice.document import FRONT_END

__all__ = ["FRONT_END"]
