"""Typed asynchronous clients of the services that GridPilot uses, one file for each, one shared transport."""
