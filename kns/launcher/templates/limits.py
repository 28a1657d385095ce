"""Bounds of one rendering. Templates are the site's, but how much they do depends on what a user submits."""

RENDER_S = 20.0  # two programs of `exec` that time out; the Launcher gives up on a request after 120 s
EXEC_S = 8.0  # one program of `exec`: the user waits for the session meanwhile
MAX_EXEC_BYTES = 1 << 20  # of stdout, and of stderr
MAX_EXEC_ARGUMENTS = 100
MAX_OUTPUT = 2 * 1024 * 1024  # characters; etcd refuses objects above 1.5 MiB
MAX_ITERATIONS = 100_000  # of all ranges; a job has at most 1000 items per list
MAX_CALLS = 200_000  # of functions
MAX_DEPTH = 24  # templates in templates; each takes about 20 of Python's 1000 frames
MAX_NUMBER = 10_000  # of `repeat`, `indent`, `until` and others, which make so much from one number
MAX_TEMPLATE_BYTES = 256 * 1024  # of one file; the largest published one has 15 KiB
MAX_TEMPLATES = 200  # files in the scratch folder that are read
MAX_NODES = 100_000  # values of the rendered object, with what YAML aliases repeat
