"""The site as a Beckn provider (BPP): flexibility that a grid operator finds, orders and verifies."""
