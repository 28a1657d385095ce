"""
The use cases: submit, find, control and view jobs, and read the catalogue.

Every front end calls them. They raise the errors of `kns.service.errors` and know nothing of HTTP.
"""
