"""Speed and memory, measured by command; never a timed test."""
