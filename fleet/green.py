"""Import this before anything that opens a socket: pyinfra's parallel connections and time limits rely on gevent's patches.

A module of its own, because it changes the whole process: tests and tools that only look at a plan must not have it done to them.
"""

from gevent import monkey

monkey.patch_all()
