"""Measurements. Each runs against an installed kns; docs/performance.md has the figures."""
