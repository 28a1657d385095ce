"""In-memory ports: one for each Protocol of `kns.ports`, with the adapter's behaviour that callers rely on."""
