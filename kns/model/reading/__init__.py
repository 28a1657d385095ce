"""Readers of untrusted input: strict JSON, scalars, quantities, durations, and problems that name a key path."""
