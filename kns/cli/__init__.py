"""
The command line: jobs over the HTTP API, and checks of files.

`kns preflight` and `kns prepare` talk to a cluster, so their work is passed in by `kns.__main__`.
"""
