"""Grid data: schema, loader, publication times, splits and the synthetic default."""
