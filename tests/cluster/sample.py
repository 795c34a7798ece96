"""The declaration that tests of this room edit: two directors, three servers, a rotating and a sticking service."""

LAB = """\
name = "lab"
mode = "dr"
network = "10.0.0.0/24"

[service.read]
vip = "10.0.0.10"
nat_port = 5506

[service.write]
vip = "10.0.0.11"
nat_port = 5507
persistence = { timeout = "1d", granularity = "0.0.0.0" }

[vrrp]
virtual_router_id = 19

[nat]
gateway = "10.0.0.12"

[director.lb1]
address = "10.0.0.4"
priority = 101

[director.lb2]
address = "10.0.0.6"
priority = 100

[real_server.db1]
address = "10.0.0.1"

[real_server.db2]
address = "10.0.0.2"

[real_server.db3]
address = "10.0.0.3"
"""
