"""One loop, one score, one report for every policy."""
