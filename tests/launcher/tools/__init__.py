"""Tools for administrators. The API server is an in-memory one; processes and files are real."""
