"""The HTTP APIs: `jarvice`, the public one, and `upstream`, the one for an upstream JARVICE. Neither uses the other."""
