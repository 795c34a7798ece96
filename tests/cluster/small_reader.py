"""Another, smaller reading of keepalived.conf, which knows nothing of the product's: what table and which VRRP terms a file says.

For well-formed files only. Defaults are keepalived.conf(5)'s.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Table = dict[str, tuple[Any, ...]]
"""ADDRESS:PORT/PROTOCOL → scheduler, seconds of persistence, its mask, and {server: (method, weight)}."""


@dataclass
class Block:
    """Words, and what is in the braces."""

    words: list[str]
    inside: "list[Block]"

    def find(self, *names: str) -> "list[Block]":
        return [block for block in self.inside if block.words[0] in names]

    def value(self, *names: str, default: str = "") -> str:
        found = self.find(*names)
        return found[-1].words[1] if found and len(found[-1].words) > 1 else default


def read(path: Path, instance: str = "") -> Block:
    defined: dict[str, str] = {}
    lines = "\n".join(_lines(path.read_text(), path.parent, instance, defined))
    tokens = iter(re.findall(r'"[^"]*"|[{}\n]|[^\s{}"]+', lines))
    return Block(["file"], _blocks(tokens))


def _lines(text: str, folder: Path, instance: str, defined: dict[str, str]) -> Iterator[str]:
    text = re.sub(r'^((?:[^"#!\n]|"[^"\n]*")*)[#!].*$', r"\1", text, flags=re.MULTILINE)
    for line in text.replace("\\\n", "\0").splitlines():
        if condition := re.match(r"\s*@(\^?)(\w+)(.*)", line):
            if (condition[2] == instance) == (not condition[1]):
                yield from _lines(condition[3], folder, instance, defined)
        elif definition := re.match(r"\s*\$(\w+)=(.*)", line):
            defined[definition[1]] = definition[2].strip().replace("\0", "\n").strip()
        elif (put := re.sub(r"\$\{?(\w+)\}?", lambda use: defined.get(use[1], use[0]), line)) != line:
            yield from _lines(put, folder, instance, defined)
        elif include := re.match(r"\s*include\s+(\S+)", line):
            for path in sorted(folder.glob(include[1])):
                yield from _lines(path.read_text(), path.parent, instance, defined)
        else:
            yield line


def _blocks(tokens: Iterator[str]) -> list[Block]:
    found: list[Block] = []
    words: list[str] = []
    for token in tokens:
        if token not in {"{", "}", "\n"}:
            words.append(token.strip('"'))
            continue
        if token == "{":
            if words:
                found.append(Block(words, []))
            found[-1].inside = _blocks(tokens)
        elif words:
            found.append(Block(words, []))
        words = []
        if token == "}":
            return found
    return found


def table(file: Block) -> Table:
    """The kernel's table, with every server alive. Without marks and IPv6."""
    groups = {group.words[1]: group.inside for group in file.find("virtual_server_group")}
    found: Table = {}
    for server in file.find("virtual_server"):
        places = (
            [block.words for block in groups[server.words[2]]] if server.words[1] == "group" else [server.words[1:]]
        )
        stuck = bool(server.find("persistence_timeout"))
        service = (
            server.value("lb_algo", "lvs_sched"),
            int(server.value("persistence_timeout", default="360")) if stuck else None,
            server.value("persistence_granularity", default="255.255.255.255") if stuck else None,
            {
                ":".join(real.words[1:3]): (server.value("lb_kind", "lvs_method"), int(real.value("weight", default="1")))
                for real in server.find("real_server")
            },
        )  # fmt: skip
        for address, port in (words[:2] for words in places if words[0] != "fwmark" and ":" not in words[0]):
            first, _, last = address.partition("-")
            net, _, begin = first.rpartition(".")
            for host in range(int(begin), int(last or begin) + 1):
                found[f"{net}.{host}:{port}/{server.value('protocol').lower()}"] = service
    return found


def terms(file: Block, name: str) -> dict[str, object]:
    """What the vrrp_instance of that name says to the network."""
    (block,) = [instance for instance in file.find("vrrp_instance") if instance.words[1] == name]
    common = next(iter(file.find("global_defs")), Block([""], []))
    password = "".join(inner.value("auth_pass") for inner in block.find("authentication"))
    peers = [peer.words[0] for inner in block.find("unicast_peer") for peer in inner.inside]
    lists = block.find("virtual_ipaddress", "virtual_ipaddress_excluded")
    return {
        "interface": block.value("interface"),
        "vrid": int(block.value("virtual_router_id")),
        "priority": int(block.value("priority", default="100")),
        "version": int(block.value("version", default=common.value("vrrp_version", default="2"))),
        "advert_int": float(block.value("advert_int", default="1")),
        "password": password[:8],
        "preempts": block.value("state") == "MASTER" or not block.find("nopreempt"),
        "preempt_delay": float(block.value("preempt_delay", default="0")),
        "source": block.value("unicast_src_ip"),
        "peers": sorted(peers),
        "floating": sorted(entry.words[0].partition("/")[0] for one in lists for entry in one.inside),
    }  # fmt: skip
