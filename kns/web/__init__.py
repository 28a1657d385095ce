"""
The live page: a front end for people. Its pages are rendered here and work without script; one small script keeps them
current. It shows what the public API shows to the same user, through the same use cases.
"""

from kns.web.front_end import build_front_end

__all__ = ["build_front_end"]
