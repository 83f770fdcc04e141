"""Published benchmarks as they are: their files, their tasks, their verdicts, over tools of our own."""
