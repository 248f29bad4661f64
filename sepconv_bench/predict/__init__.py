"""What was not measured: times and speedups from the cells that were."""
