"""
The HTTP APIs: `jarvice`, the public one, `kns`, the one of kns's own clients, and `upstream`, the one for an upstream
JARVICE. None uses another.
"""
