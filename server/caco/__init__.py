"""Agents that plan a cluster's jobs by cost and carbon: commands in, JSON out, no transport."""
