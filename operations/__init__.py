"""What is done on hosts: the kinds of host, and in which order each gets what (`director`, `real_server`)."""
