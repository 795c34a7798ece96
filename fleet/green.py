"""Import this before anything that opens a socket: pyinfra's parallel connections and time limits rely on gevent's patches.

A module of its own, because it changes the whole process: tests and tools that only look at a plan must not have it done to them.
"""

from gevent import monkey

from fleet import installed

installed.read_once()
# paramiko names it for `Match exec` in an ssh_config, which few have; it is a seventh of all that is imported.
installed.when_used("invoke")
monkey.patch_all()
