"""Whole lives of jobs under faults: the real engine over fakes, every call to the outside through one gate."""
