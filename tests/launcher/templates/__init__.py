"""Templates of jobs and services. Folders and programs are real; groups are a table of the test."""
