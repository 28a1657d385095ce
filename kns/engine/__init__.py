"""Leader, queue, workers and the pass. A few hundred lines that know nothing of vcluster."""
