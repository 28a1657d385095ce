"""Nested jobs without the process: what happens over time, and what others break."""
