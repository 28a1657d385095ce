"""Leader, queue, workers, reconciler and sweeper. A kind of job is data to them (`kns.stages.lifecycle`)."""
