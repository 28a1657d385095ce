"""In-memory ports: one per Protocol of `kns.ports`, with the behaviour of the real one that callers rely on."""
