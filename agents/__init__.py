"""Learners: Stable-Baselines3 over the project's own lanes, and the bundles they leave."""
