"""Real machines on any Linux box with root: each one a Linux kernel that runs as an ordinary process, on one bridge.

from lab.lab import Lab
lab = Lab("trial")
lab.up(["db1", "lb1"])
lab.exec("lb1", "uname -r").stdout
lab.down()
"""
