"""Steps on hosts, in order: connect, observe, apply, gate."""
