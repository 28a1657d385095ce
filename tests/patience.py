"""How long tests without a cluster wait for what happens at once on an idle machine."""

PATIENCE_S = 60.0  # a test that passes waits for no deadline, so a busy machine may have its time
