"""Physics and mechanisms: frozen parameters and pure compiled functions; no gym, no config."""
