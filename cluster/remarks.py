"""What keepalived.conf has and a declaration has not: each keyword with what becomes of it (`lbctl import` says so).

A keyword that stands in no table is told as well, as one that is not known.
"""

from typing import NamedTuple

CLIENTS, LOST, NOTE = 0, 1, 2
"""As `cluster.keepalived_reading.Effect`."""


class Known(NamedTuple):
    """What becomes of a statement. Without a text it is carried over in substance, and nothing is said."""

    effect: int = NOTE
    what: str = ""


_MAIL = Known(LOST, "lbctl sends no mail")
_SCRIPT = Known(LOST, "lbctl runs no scripts of yours")
_ARP = Known(NOTE, "lbctl announces its addresses in its own way (vrrp.announce_every)")
_SAME = Known()
_PROCESS = Known(NOTE, "how keepalived runs is left to Debian's unit")

ON_TOP = {
    "include": Known(LOST, "no such file is here, so what it says is not known"),
    "static_ipaddress": Known(
        LOST, "addresses of the host's own are not lbctl's business: they belong to its network configuration"
    ),
    "static_routes": Known(LOST, "routes of the host's own belong to its network configuration"),
    "static_rules": Known(LOST, "rules of the host's own belong to its network configuration"),
    "vrrp_sync_group": Known(
        NOTE, "all that floats is in one VRRP instance and moves together; scripts and mail of the group are lost"
    ),
    "vrrp_script": _SCRIPT,
    "vrrp_track_process": _SCRIPT,
    "vrrp_track_file": _SCRIPT,
    "track_file": _SCRIPT,
    "bfd_instance": Known(LOST, "a declaration has no BFD"),
    "net_namespace": _PROCESS,
    "namespace_with_ipsets": _PROCESS,
    "instance": _PROCESS,
    "use_pid_dir": _PROCESS,
}

IN_GLOBAL = {
    **dict.fromkeys(("notification_email", "notification_email_from", "smtp_server", "smtp_connect_timeout"), _MAIL),
    **dict.fromkeys(("smtp_helo_name", "smtp_alert", "smtp_alert_vrrp", "smtp_alert_checker"), _MAIL),
    **dict.fromkeys(("script_user", "notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo"), _SCRIPT),
    **dict.fromkeys(("vrrp_garp_interval", "vrrp_gna_interval", "vrrp_garp_master_delay"), _ARP),
    **dict.fromkeys(("vrrp_garp_master_repeat", "vrrp_garp_master_refresh", "vrrp_garp_master_refresh_repeat"), _ARP),
    **dict.fromkeys(("vrrp_priority", "checker_priority", "vrrp_rt_priority", "checker_rt_priority"), _PROCESS),
    **dict.fromkeys(("vrrp_no_swap", "checker_no_swap", "max_auto_priority", "process_names"), _PROCESS),
    "enable_script_security": _SAME,
    "vrrp_skip_check_adv_addr": Known(NOTE, "not said: advertisements are checked whole"),
    "vrrp_strict": Known(NOTE, "not said: lbctl writes only what the VRRP version allows"),
    "vrrp_iptables": Known(LOST, "no packet filter is put on virtual addresses"),
    "vrrp_mcast_group4": Known(LOST, "advertisements go to 224.0.0.18, or by unicast (vrrp.unicast)"),
    "lvs_flush": Known(NOTE, "lbctl compares and mends the kernel's table instead"),
    "lvs_flush_on_stop": Known(NOTE, "the table stays until the other director has taken over"),
    "default_interface": _SAME,
    "dynamic_interfaces": _PROCESS,
    "enable_snmp_vrrp": Known(LOST, "no SNMP"),
    "enable_snmp_checker": Known(LOST, "no SNMP"),
}

IN_INSTANCE = {
    "track_script": Known(LOST, "no script of yours has a say in who is active"),
    "track_file": Known(LOST, "no file of yours has a say in who is active"),
    "track_process": Known(LOST, "no process of yours has a say in who is active"),
    **dict.fromkeys(("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop"), _SCRIPT),
    "smtp_alert": _MAIL,
    **dict.fromkeys(("garp_master_delay", "garp_master_repeat", "garp_master_refresh_repeat"), _ARP),
    **dict.fromkeys(("garp_lower_prio_delay", "garp_lower_prio_repeat", "garp_interval", "gna_interval"), _ARP),
    "use_vmac": Known(
        CLIENTS, "the addresses then have the active director's own MAC: neighbours learn it from its announcement"
    ),
    "vmac_xmit_base": Known(NOTE, "belongs to use_vmac"),
    "virtual_routes": Known(LOST, "routes do not move with the addresses"),
    "virtual_rules": Known(LOST, "rules do not move with the addresses"),
    "dont_track_primary": Known(NOTE, "a director whose interface is down always gives up its addresses"),
    "debug": _SAME,
    "accept": _SAME,
    "check_unicast_src": _SAME,
    "linkbeat_use_polling": _SAME,
    "lvs_sync_daemon_interface": Known(NOTE, "said by vrrp.synchronise_connections"),
    "preempt": _SAME,
    "skip_check_adv_addr": Known(NOTE, "not said: advertisements are checked whole"),
    "strict_mode": Known(NOTE, "not said: lbctl writes only what the VRRP version allows"),
    "native_ipv6": Known(LOST, "IPv4 only"),
    "nopreempt": _SAME,
    "mcast_src_ip": _SAME,
}

_FLAG = Known(CLIENTS, "a declaration has no options of schedulers, so the same client may come to another server")

IN_VIRTUAL = {
    "sorry_server": Known(CLIENTS, "while no server is alive clients are refused at once (connections.refuse), not sent there"),
    "sorry_server_inhibit": Known(NOTE, "belongs to sorry_server"),
    "sorry_server_lvs_method": Known(NOTE, "belongs to sorry_server"),
    "quorum": Known(NOTE, "servers that are alive are used, however few: in keepalived it decides on scripts and sorry_server"),
    "hysteresis": Known(NOTE, "belongs to quorum"),
    "quorum_up": _SCRIPT,
    "quorum_down": _SCRIPT,
    "omega": Known(NOTE, "belongs to scripts at the end"),
    "inhibit_on_failure": Known(CLIENTS, "a server that fails is taken out; its clients are reset (connections.reset_dead)"),
    "virtualhost": Known(CLIENTS, "checks name no host: a server with several sites may answer otherwise"),
    "ops": Known(CLIENTS, "each UDP packet went its own way; then a client's packets go to one server"),
    "persistence_engine": Known(CLIENTS, "clients stick by their address only"),
    "ha_suspend": Known(NOTE, "a passive director checks servers too"),
    "nat_mask": _SAME,
    "warmup": Known(NOTE, "checks begin at once"),
    "ip_family": _SAME,
    "smtp_alert": _MAIL,
    "snmp_name": Known(NOTE, "no SNMP"),
    **dict.fromkeys(("flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback"), _FLAG),
    "hashed": _FLAG,
}  # fmt: skip

IN_SERVER = {
    "inhibit_on_failure": IN_VIRTUAL["inhibit_on_failure"],
    "notify_up": _SCRIPT,
    "notify_down": _SCRIPT,
    "uthreshold": Known(CLIENTS, "a server gets more connections than this"),
    "lthreshold": Known(NOTE, "belongs to uthreshold"),
    "virtualhost": IN_VIRTUAL["virtualhost"],
    "alpha": Known(NOTE, "health.alpha says it for all"),
    "warmup": IN_VIRTUAL["warmup"],
    "smtp_alert": _MAIL,
    "snmp_name": Known(NOTE, "no SNMP"),
}

IN_CHECKER = {
    "digest": Known(CLIENTS, "the text of an answer is not compared: an answer of 200 counts as alive"),
    "virtualhost": IN_VIRTUAL["virtualhost"],
    "bindto": Known(NOTE, "checks go out by the route"),
    "bind_port": Known(NOTE, "checks go out by the route"),
    "bind_if": Known(NOTE, "checks go out by the route"),
    "fwmark": Known(NOTE, "checks carry no mark"),
    "warmup": IN_VIRTUAL["warmup"],
    "alpha": Known(NOTE, "health.alpha says it for all"),
    "http_protocol": _SAME,
    "enable_sni": Known(CLIENTS, "belongs to SSL"),
    "regex": Known(CLIENTS, "the text of an answer is not looked at"),
    "log_all_failures": _SAME,
    **dict.fromkeys(("misc_path", "misc_timeout", "misc_dynamic", "user"), Known(NOTE, "belongs to MISC_CHECK")),
    **dict.fromkeys(
        ("helo_name", "host", "type", "name", "payload", "require_reply"), Known(NOTE, "belongs to that check")
    ),
}
