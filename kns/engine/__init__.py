"""Leader, queue, workers, reconciler, sweeper and warm pool. A kind of job is data to them (`kns.stages.lifecycle`)."""
