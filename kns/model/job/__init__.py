"""The job: its record as checked values, and its location, conditions, output, tokens and usage."""
