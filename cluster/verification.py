"""What a client must see at each address and port, and whether it did. Pure: connecting is in `fleet.verify`.

Here is who answers, and how often. `cluster.large`: whether large packets pass. `cluster.directly`: whether servers answer past
the load balancer. `cluster.guilt`: which of the two is guilty.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from math import gcd

from cluster.declaration import Declaration, Service
from cluster.keepalived import Endpoint, endpoints, source_network_translated, weights_for
from cluster.vocabulary import MYSQL_PORT, Check

_MOST = 100
"""Connections to one endpoint at most, unless more were asked for."""


TIMED_OUT = "no answer in time"
"""The error of a connection that the deadline ended."""


class Kind(StrEnum):
    """What connections are made for."""

    SPREAD = "spread"
    """Who answers at an endpoint, and how often."""
    LARGE = "large"
    """Whether packets of full size pass there, both ways."""
    DIRECT = "direct"
    """Whether a server answers at its own address, past the load balancer."""


class Pattern(StrEnum):
    """How the answers of one client must be spread over the servers."""

    ROTATES = "rotates"
    """Every server has its turn."""
    STICKS = "sticks"
    """All go to one."""
    ANY = "any"
    """The scheduler decides by what this client cannot see (load, hashes): any of them may answer."""


_ROTATING = frozenset({"rr", "wrr", "lc", "wlc"})
"""lc and wlc too: they count connections that have just ended (ip_vs_dest_conn_overhead). sed and nq do not."""
_BY_LOAD = frozenset({"lc", "wlc"})
"""The server with the fewest connections is next: one that has just come back gets all until it has as many as the others."""


@dataclass(frozen=True)
class Probe:
    """What to try at one endpoint, and what must come of it."""

    endpoint: Endpoint
    """Of a direct one: the server's own address, and its name where the service's would be."""
    sql: bool
    """The service speaks MySQL's protocol: the server itself can say who it is. Otherwise a connection is all there is."""
    pattern: Pattern
    weights: Mapping[str, int]
    """The servers that should serve, the heaviest first."""
    count: int
    by_load: bool = False
    """Who has its turn depends on how many connections each has: that one has none is no proof of anything."""
    translated: bool = False
    """Servers see the director as client."""
    directors: frozenset[str] = frozenset()
    """Addresses and names that a client of an untranslated service cannot have."""
    kind: Kind = Kind.SPREAD
    large: int = 0
    """Bytes of the large answer that is asked for; 0: none is, and no large request is sent."""
    idle: str = ""
    """Direct: why services need not send this server anything."""

    @property
    def word(self) -> str:
        """What it is called in one word."""
        if self.kind is not Kind.SPREAD:
            return self.kind
        return self.pattern if self.sql else "tcp"


@dataclass(frozen=True)
class Answer:
    """One connection: who answered and whom it saw, or why nobody did.

    Server and error: it answered, and the large part after that failed.
    """

    server: str = ""
    client: str = ""
    error: str = ""
    sent: int | None = None
    """Bytes of the large request, by the server's count; None: it was not answered."""
    received: int | None = None
    """Bytes of the large answer; 0: the server would not make one so large. None: it did not come."""


@dataclass(frozen=True)
class Verdict:
    """What came of a probe."""

    probe: Probe
    answers: Mapping[str, int] = field(default_factory=dict)
    clients: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    seconds: float = 0
    """How long it took."""

    @property
    def tried(self) -> bool:
        """Whether it says what it is to say: a server that may not send a large answer tells nothing of large packets."""
        errors = {} if self.probe.kind is Kind.LARGE else self.errors
        return bool(self.answers or errors or self.faults)

    @property
    def nobody(self) -> str:
        """What stands in the place of names where no server answered."""
        return "no answer" if self.tried else "not tried"

    @property
    def healthy(self) -> bool:
        """No fault was found; also where nothing was tried."""
        return not self.faults

    @property
    def missing(self) -> tuple[str, ...]:
        """Servers that should have answered and have not: one more round may show them where other clients take turns too."""
        probe = self.probe
        if probe.kind is not Kind.SPREAD or probe.pattern is not Pattern.ROTATES or not probe.sql:
            return ()
        return tuple(name for name in self.probe.weights if name not in self.answers)


def probes(declaration: Declaration, *, count: int, expect: Sequence[str] = ()) -> tuple[Probe, ...]:
    """One for each address and port that clients use, VIPs before nat ports; `expect`: only these servers should serve."""
    places = dict.fromkeys(e for director in declaration.director for e in endpoints(declaration, director))
    gateways = {declaration.gateway_for(director) for director in declaration.director}
    directors = {director.address for director in declaration.director.values()} | gateways
    known = frozenset([*map(str, directors), *declaration.director])
    found = []
    for endpoint in places:
        service = declaration.service[endpoint.service]
        weights = _serving(declaration, service, expect)
        pattern = pattern_of(service) if len(weights) > 1 else Pattern.STICKS
        found.append(
            Probe(
                endpoint=endpoint,
                sql=speaks_sql(service),
                pattern=pattern,
                weights=weights,
                count=_enough(weights, count) if pattern is Pattern.ROTATES else count,
                by_load=service.scheduler in _BY_LOAD,
                translated=source_network_translated(declaration),
                directors=known,
            )
        )
    return tuple(found)


def pattern_of(service: Service) -> Pattern:
    """What one client sees of a service over a few connections."""
    if service.persistence or service.scheduler == "fo" or service.check is Check.PRIMARY:
        return Pattern.STICKS
    return Pattern.ROTATES if service.scheduler in _ROTATING else Pattern.ANY


def speaks_sql(service: Service) -> bool:
    """Whether MySQL is behind it: clustercheck says so, or the usual port does."""
    if service.protocol != "tcp":
        return False
    return service.check.clustercheck_path is not None or service.port_at_servers == MYSQL_PORT


def _serving(declaration: Declaration, service: Service, expect: Sequence[str]) -> dict[str, int]:
    weights = weights_for(service, declaration)
    if service.scheduler in {"rr", "lc"}:
        # They do not look at weights, but for 0.
        weights = {name: min(weight, 1) for name, weight in weights.items()}
    names = [name for name in weights if (name in expect if expect else weights[name])]
    return {name: max(weights[name], 1) for name in sorted(names, key=lambda name: -weights[name])}


def _enough(weights: Mapping[str, int], count: int) -> int:
    """Two whole turns, so that each server shows even where other clients connect at the same time."""
    turn = sum(weights.values()) // (gcd(*weights.values()) or 1)
    return max(count, min(2 * turn, _MOST))


def identify(declaration: Declaration, said: Mapping[str, str]) -> str:
    """The declared name of the server that said this of itself; its own word for itself where none fits.

    By its Galera address, else by its host name, with or without a domain, else by its Galera name.
    """
    by_address = {str(server.address): name for name, server in declaration.real_server.items()}
    address = said.get("wsrep_node_address", "").split(":")[0]
    if address in by_address:
        return by_address[address]
    host = said.get("hostname", "")
    words = [word.lower() for word in (host, said.get("wsrep_node_name", "")) if word]
    by_short_name: dict[str, str] = {}
    for name in declaration.real_server:
        by_short_name.setdefault(name.split(".")[0], name)
    for word in words:
        if word in declaration.real_server:
            return word
    for word in words:
        if word.split(".")[0] in by_short_name:
            return by_short_name[word.split(".")[0]]
    return host or "a server that does not say its name"


def judge(probe: Probe, answers: Iterable[Answer]) -> Verdict:
    """Faults are what must not be; remarks are worth knowing."""
    heard = list(answers)
    verdict = Verdict(
        probe,
        answers=Counter(a.server for a in heard if not a.error),
        clients=Counter(a.client for a in heard if not a.error and a.client),
        errors=Counter(a.error for a in heard if a.error),
    )
    faults = [*failed(verdict.errors, len(heard))]
    remarks: list[str] = []
    if probe.sql:
        faults += [*_strangers(verdict), *_wrong_clients(verdict)]
        spread_faults, remarks = _spread(verdict)
        faults += spread_faults
        remarks += _unsure_clients(verdict)
    return Verdict(probe, verdict.answers, verdict.clients, verdict.errors, tuple(faults), tuple(remarks))


def failed(errors: Mapping[str, int], total: int) -> Iterable[str]:
    """A text for each error."""
    for error, count in errors.items():
        yield f"{count} of {total} connections failed: {error}"


def _strangers(verdict: Verdict) -> Iterable[str]:
    for server in verdict.answers:
        if server not in verdict.probe.weights:
            yield f"{server} answered and is not one that should serve ({', '.join(verdict.probe.weights)})"


def _wrong_clients(verdict: Verdict) -> Iterable[str]:
    probe = verdict.probe
    for client in verdict.clients:
        director = _is_director(client, probe)
        if probe.translated and not director and _is_address(client):
            yield f"servers see {client} as client: with return_path snat it should be a director"
        if not probe.translated and director:
            yield f"servers see the director {client} as client: something translates addresses that should not"


def _unsure_clients(verdict: Verdict) -> Iterable[str]:
    """A server that resolves names (no skip_name_resolve) says a client's name, which may be another one than is declared."""
    for client in verdict.clients:
        if verdict.probe.translated and not _is_director(client, verdict.probe) and not _is_address(client):
            yield f"servers see {client} as client: with return_path snat that should be a director's name"


def _is_director(client: str, probe: Probe) -> bool:
    """By its address, or by its name with or without a domain."""
    short = {name.split(".")[0] for name in probe.directors if not _is_address(name)}
    return client in probe.directors or (not _is_address(client) and client.lower().split(".")[0] in short)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _spread(verdict: Verdict) -> tuple[list[str], list[str]]:
    """(faults, remarks) about who answered how often."""
    probe, answers = verdict.probe, verdict.answers
    total, whole = sum(answers.values()), sum(probe.weights.values())
    faults: list[str] = []
    remarks: list[str] = []
    if total and probe.pattern is Pattern.ROTATES:
        for name in verdict.missing:
            # A light server may rightly have had no turn yet.
            sure = total * probe.weights[name] >= 2 * whole and not probe.by_load
            why = ": others may have fewer connections (lbctl status says whether it serves)" if probe.by_load else ""
            (faults if sure else remarks).append(f"{name} did not answer{why}")
        shares = [answers[name] / weight for name, weight in probe.weights.items() if name in answers]
        if shares and max(shares) > 2 * min(shares):
            remarks.append("uneven, as it is when other clients connect at the same time")
            if len(set(probe.weights.values())) > 1:
                due = (f"{name} {round(total * weight / whole)}" for name, weight in probe.weights.items())
                remarks.append(f"by weight it would be: {', '.join(due)}")
    if probe.pattern is Pattern.STICKS and len(answers) > 1:
        faults.append(f"{' and '.join(sorted(answers))} answered: all must go to one")
    heaviest = next(iter(probe.weights), "")
    if probe.pattern is Pattern.STICKS and len(answers) == 1 and _by_rank(probe) and heaviest not in answers:
        remarks.append(f"{heaviest} ranks first and does not serve: it fails its check")
    return faults, remarks


def _by_rank(probe: Probe) -> bool:
    return len(set(probe.weights.values())) == len(probe.weights) > 1


def split_writers(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Services that stick, but to different servers at different endpoints: clients of both then write to two servers.

    Persistence is kept for each endpoint by itself, so the seed's first way allows it.
    """
    writers: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        probe = verdict.probe
        alone = len(verdict.answers) == 1
        if probe.kind is Kind.SPREAD and probe.pattern is Pattern.STICKS and probe.sql and alone:
            places = writers.setdefault(probe.endpoint.service, {})
            places[str(probe.endpoint)] = next(iter(verdict.answers))
    return tuple(
        f"{service} sticks to different servers: "
        + ", ".join(f"{server} at {place}" for place, server in places.items())
        for service, places in writers.items()
        if len(set(places.values())) > 1
    )
