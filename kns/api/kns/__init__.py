"""
The API of kns's own clients, for what the public API of JARVICE has no routes for. Its command line uses both.
"""

from kns.api.kns.document import FRONT_END

__all__ = ["FRONT_END"]
