# ruff: noqa: INP001, E501 (run as a file; lines of a Markdown table are long)
"""Writes docs/doctor.md from `cluster.faults` and the texts here: `python -m docs.make_doctor`. A test compares them.

With the report of a run of tests/system/test_doctor.py (pytest's --junit-xml) it also takes over which faults were made and found:
`python -m docs.make_doctor report.xml`; with several, of the whole and then of single cases once more, the last counts.
"""

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from cluster.faults import ABOUT, DEPLOY, Fault

TARGET = Path(__file__).parent / "doctor.md"
FOUND = Path(__file__).parent / "doctor-found.json"
"""What the last whole run of the test found."""

HEAD = """\
# Doctor

`lbctl doctor` asks all hosts at once, listens for VRRP (as long as three advertisements may take) and asks by ARP, and names each fault with the host
where it is, what was seen, what follows from it, and what cures it. It changes nothing; `--fix` deploys afterwards where that is
the cure, shows the plan and asks first (`--overwrite`: also where a file was edited by hand). Exit 0: no fault; 4: some. `--json` for programs: one document
(with `--fix`: `before`, what was found then; `changes`, what the deploy did; `findings` after it, null where it failed). `lbctl report` shows what it found last.

    $ lbctl doctor
    ✗ db3: a firewall drops what the cluster lives on
        seen   TCP 9200 from lb1: -A INPUT -p tcp -m tcp --dport 9200 -j DROP
        hence  a server is out of rotation: out of rotation in read 10.0.0.10:3306: clustercheck at 10.0.0.3:9200: no answer within 1 s
        cure   let it through, before that rule
        page   docs/doctor.md#firewall
    1 fault.

What follows from a fault is no fault of its own: who mends the first has mended both. [troubleshooting.md](troubleshooting.md)
goes from symptoms to causes by hand; `lbctl doctor trace` follows one connection to the hop where it dies ([trace.md](trace.md)).

How it knows: the same look at hosts as `lbctl plan` (each difference from the declaration is a fault by its name), what `lbctl
status` asks, and besides: neighbour caches, packet filters (iptables in both variants, nft), MTUs, clocks, what the kernel's log
says of AppArmor and SELinux; from each host an ARP question for every address that floats (sent from 0.0.0.0, so that no cache
learns anything); on directors all advertisements with this cluster's id, also those that a packet filter drops. For the last two it
runs a few lines of perl, which every Debian has. A firewall is named only where a packet is surely dropped: not by a rule that may
match it, nor behind one that may let it through (one for some clients, or with a match that is not understood: a named set, a limit).

<!-- written by docs/make_doctor.py: change that file, not this one -->
"""


RUNBOOK = {
    Fault.DEAD_HOST: 'It gives no answer by SSH, or does not let lbctl in (a host key that is not known, a user, a port): then the cure that is named is for that. A database server: directors have taken it out, clients go on; when it is back nothing need be done. A director: the other one serves; see [guide.md](guide.md), "replace a director", if it does not come back.',
    Fault.UNSEEN_HOST: "It answers, and what it says is not whole: a full disk, no memory, `sudo` that asks for a password. Log in and look; other hosts are judged without it.",
    Fault.TRIAL: "`lbctl trial`, or somebody who typed the how-to's commands, left addresses or services beside keepalived: success may be measured that is not keepalived's. A deploy takes them away ([trial.md](trial.md)).",
    Fault.MODULE: "`ip_vs`, `ipip` or `dummy` is not loaded: after a new kernel without a reboot, or by `rmmod`. A deploy loads it and builds what needs it; if that fails, reboot into the kernel whose modules are installed.",
    Fault.FIREWALL: "The rule is named as it is printed. Let in (and their answers out): on servers the service's port from clients, TCP 9200 from directors, in tun protocol 4 from directors; on directors the services' ports, from the other director VRRP (protocol 112) and UDP 8848; in nat also answers in FORWARD, which conntrack has not seen begin and calls INVALID, not ESTABLISHED (`-A FORWARD -s 10.0.0.1 -p tcp --sport 3306 -j ACCEPT` for each server); what IPVS sends to servers it calls UNTRACKED, in OUTPUT (both measured; not so with `return_path = \"snat\"`). Put the exception before that rule, and where the firewall keeps its rules for the next boot.",
    Fault.SPLIT_BRAIN: "Both answer for an address, connections go to either at random. Mostly they do not hear each other: a switch that drops multicast (`vrrp.unicast = true`; copies of connections are multicast all the same, so there `vrrp.synchronise_connections = false`, knowing that a failover cuts), a firewall, a cable. If no cause is named beside it: `ip addr` shows who was given the address by hand; `systemctl stop keepalived` on the one with the lower priority (`lbctl status`) ends it for now; start it when they hear each other again.",
    Fault.NOBODY: "All directors say so; or one cannot be asked, and is neither heard advertising nor answers ARP. keepalived runs nowhere, or is in FAULT because its interface is down. `journalctl -u keepalived` says which.",
    Fault.VRRP_STRANGER: "Another pair on this network uses the same number. Both ignore each other's addresses, log at each packet, and may fight. Change `vrrp.virtual_router_id` here and deploy (the passive one stands down meanwhile), or there.",
    Fault.VRRP_TERMS: "Version, advertised addresses or password on the wire are not as declared; peers with different ones reject each other and both become active. A deploy brings both to the declaration, in the order that keeps one of them active; with an edited file it wants `--overwrite`.",
    Fault.STOPPED: "A director whose keepalived was stopped, is not enabled, or died. If it is the only one, service has ended or nobody checks servers any more. A deploy starts it; if it stops again the log says why.",
    Fault.OLDER_FILE: "The file was replaced or edited, and keepalived did not load it or failed to. Until then what was changed is not in force. A deploy loads the right one; an edit by hand it overwrites only with `--overwrite`.",
    Fault.TABLE: "Somebody used `ipvsadm`, or keepalived took over an old table after it died: keepalived itself never compares. A deploy edits the table in place; connections stay.",
    Fault.ADDRESS_TAKEN: "A machine that is not in the declaration answers ARP for a virtual address or the gateway. Find the MAC in the switch's table.",
    Fault.ARP: "A server that carries the VIP (dr, tun) must keep silent: `arp_ignore` 1 and `arp_announce` 2. If it answers, clients connect to it past the director, all of them to one server. The how-to's \"ARP problem\". A deploy sets both; an address that somebody gave to the server's own device it leaves there, and the command that takes it away is named; clients that have learnt its MAC come back within their cache's time, or at once when the active director announces itself again (every 30 s).",
    Fault.NEIGHBOUR: "Somebody answered once, and the entry stayed or is permanent. Flush it. If it returns, look for `arp`.",
    Fault.VIP_MISSING: "A director sends packets for the VIP to a server that does not have it: they are dropped, or routed away again. Clients see time-outs for one connection in so many. A deploy adds it.",
    Fault.TUNNEL: "`tunl0` is not there or down, so IPIP packets end at the server's door. A deploy sets it up.",
    Fault.PACKET_SIZE: "Hosts of one network have different MTUs, or tun's smaller segments are not announced: small queries work, large answers hang. The hosts that differ from most are named; where there are as many of one size as of another, all. Bring the MTUs together, at what the network takes; tun's own part is a deploy's.",
    Fault.RP_FILTER: "Packets that arrive by `tunl0` come from addresses that the kernel would answer by `eth0`; with rp_filter 1 it drops them without a word. The larger of `all` and the device's value counts.",
    Fault.RETURN_PATH: "nat: answers must go back through the director. Without rule or route the client gets an answer from the server's own address, and resets it.",
    Fault.RETURN_PATH_DOUBLED: "The how-to's mark or rule is there beside what lbctl made. In a change away from nat it would send dr's answers to the director. What is a rule a deploy takes away; a mark in mangle that leads to a director was made by another hand, and is taken away by the command that is named. Marks for other ends (a VPN, traffic shaping) are left alone.",
    Fault.GATEWAY: "nat: the server's way back leads to a director that is not active. A route to a director's own address is the how-to's with one director; with two the gateway floats. A neighbour entry that stayed is flushed.",
    Fault.REDIRECTS: "In nat on one network the director tells servers to answer clients directly, and they do: connections hang. `send_redirects` 0, on `all` and on the device.",
    Fault.FORWARDING: "`ip_forward` is 0: nat's answers end at the director. A deploy sets it.",
    Fault.MASQUERADE: "What servers start themselves (updates, replication elsewhere) does not come back without it. lbctl-masquerade.service puts it back within ten seconds; where that does not run, a deploy starts it.",
    Fault.BOUND: "MySQL listens at listed addresses, and the service's is not among them: the server refuses. The line to change is named; `lbctl deploy` restarts one node after the other where the restart is all that is needed.",
    Fault.DATABASE_DOWN: "The server runs, MySQL does not. Directors have taken it out. Start it, and wait for Synced.",
    Fault.NOT_SYNCED: "clustercheck says why: not Synced (joining, donor, desynced), no primary component, read only. It returns by itself when the node does.",
    Fault.CLUSTERCHECK: "The health service on 9200 does not run, or does not answer. A deploy starts it ([clustercheck.md](clustercheck.md)).",
    Fault.OUT: "keepalived took it out and nothing on the server says why: something between them, or a check that comes late on a busy machine. `journalctl -u keepalived` on the active director has the reason. Or the backup alone does not reach it, and the next failover would lose it: the finding names that director.",
    Fault.CLOCK: "Logs cannot be read side by side, and a lock's age is wrong. Hosts are compared with each other, not with the operator.",
    Fault.DENIED: "A profile of AppArmor or a policy of SELinux forbids MariaDB, keepalived or clustercheck something in the last hour. After a move of the data directory, mostly.",
    Fault.NEXT_BOOT: "The how-to's own lines in /etc/network/interfaces (`post-up ip addr add … dev dummy0`) do by hand what lbctl does now: the next ifup stops at the first that finds its work done, and eth0 counts as not configured. Or nobody reads the files that lbctl writes for a boot, or a sysctl file that is read after lbctl's says otherwise. All works until then. lbctl never edits such files, so no deploy mends it: the command that is named takes just those lines out and keeps a copy; `lbctl plan` says more ([boot.md](boot.md)).",
    Fault.OTHERWISE: "A file, package, user or setting for which there is no name here; `lbctl plan` shows it with its text. A keepalived.conf that somebody edited is not overwritten unless asked for.",
    Fault.UNFINISHED: "A command was killed or failed. What was begun is finished on each host or not begun. What goes on or back from there ends it in the history, also where it finds nothing left to do.",
    Fault.LOCK: "Whoever held it runs no more. `lbctl unlock` says whose it was.",
}


def page() -> str:
    """The whole page."""
    rows = [f"| [{fault}](#{fault}) | {ABOUT[fault].what} | {_cure(fault)} |" for fault in Fault]
    table = ["| fault | what | cure |", "|---|---|---|", *rows]
    sections = [
        f"## {fault}\n\n{ABOUT[fault].what[0].upper()}{ABOUT[fault].what[1:]}. {RUNBOOK[fault]}\n" for fault in Fault
    ]
    return "\n".join([HEAD, "\n".join(table), "", *sections, *_found()])


def _found() -> Iterator[str]:
    """Each fault that was made on machines: what was done, and what doctor said."""
    run = json.loads(FOUND.read_text(encoding="utf-8"))
    if not run["rows"]:
        yield """\
## What was found when each was made

`tests/system/test_doctor.py` makes each fault on machines, in a cluster in which doctor finds nothing before and after. It has not
been run whole since this page lists what it found, so nothing stands here yet.
"""
        return
    yield f"""\
## What was found when each was made

Made on machines by `tests/system/test_doctor.py` on {run["date"]}: each fault for itself, in a cluster in which doctor finds nothing
before and after. "Found" is: by its name, on that host, and no other finding beside it; and gone after its cure.

| fault | cluster | made on | by | |
|---|---|---|---|---|"""
    for row in run["rows"]:
        verdict = "found" if row["found"] else "**not found so**"
        made = row["make"].replace("\n", "; ").replace("|", "\\|")
        yield f"| [{row['fault']}](#{row['fault']}) | {row['cluster']} | {row['host']} | `{made}` | {verdict} |"


def take_over(*reports: Path) -> None:
    """From reports of pytest's: one row for each test that says which fault it made. Of a test that is in several the last counts."""
    rows: dict[str, dict[str, object]] = {}
    when = ""
    for report in reports:
        tree = ET.parse(report)  # noqa: S314 (pytest wrote it)
        for case in tree.iter("testcase"):
            said = {each.get("name"): each.get("value") for each in case.iter("property")}
            if "fault" in said:
                bad = any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
                row = {**{key: said[key] for key in ("fault", "cluster", "host", "make")}, "found": not bad}
                rows[case.get("name", "")] = row
        when = next(tree.iter("testsuite")).get("timestamp", "")[:10]
    FOUND.write_text(json.dumps({"date": when, "rows": list(rows.values())}, indent=1) + "\n", encoding="utf-8")


def _cure(fault: Fault) -> str:
    return "`lbctl deploy` (`--fix`)" if ABOUT[fault].cure == DEPLOY else ABOUT[fault].cure


if __name__ == "__main__":
    if sys.argv[1:]:
        take_over(*map(Path, sys.argv[1:]))
    TARGET.write_text(page(), encoding="utf-8")
    print(f"{TARGET} is written", file=sys.stderr)
