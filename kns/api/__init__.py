"""The public HTTP API: routes that read and write job records, and do no work on jobs."""
