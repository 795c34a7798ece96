"""Observations: one fact per kind of host, one remote command each."""
