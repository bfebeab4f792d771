"""Forecasts made from published information alone."""
