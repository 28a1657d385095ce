"""The job: the record as checked values, its conditions, output, tokens and usage."""
