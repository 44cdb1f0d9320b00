"""The random run: a workload on real processes, faults from a seed, a history, a checker."""
