"""The submission: from a request to an accepted job."""
