"""Policies that are not learnt: rules, optimisers and the oracle."""
