"""Whole lives of jobs under faults: the real engine over fakes. Every call to the outside goes through one gate."""
