"""What a director gets."""

from contextlib import suppress

from pyinfra import host
from pyinfra.api import deploy

from cluster.gateway import moves_in_use
from cluster.history import locks, refusal
from cluster.observed import HostState
from cluster.order import first_to_float, reads_another_file, standing_down, turns
from cluster.parts import NETWORK, Thing
from cluster.plan import OWN_FILE
from facts import here
from operations import gate, keepalived, observation, thing
from operations.errors import LockedError, MovingGatewayError, NoAnswerError, OtherFileError
from operations.inventory import modes_in_use_now, states


def turn() -> int:
    """This director's place in the order of change: passive ones first, the active one last."""
    plan = observation.blueprint(host)
    return turns(plan.declaration, _directors(), plan.contract).index(observation.name_of(host))


def _directors() -> dict[str, HostState]:
    return {name: state for name, state in states(host, "directors").items() if state}


@deploy("director")
def stand_down() -> None:
    """Passive directors stop while what peers must agree on changes."""
    plan = observation.blueprint(host)
    if observation.name_of(host) in standing_down(plan.declaration, _directors(), plan.contract):
        keepalived.stopped(name="keepalived stands down")


def refuse_hand_edited() -> None:
    """Raises HandEditedError before any host is changed: with -y pyinfra does not look into operations while it prepares."""
    with suppress(NoAnswerError):  # that host fails by itself, at its first operation
        thing.refuse_hand_edited(host, modes_in_use_now(host))


def refuse_other_file() -> None:
    """Raises OtherFileError where keepalived reads another file and something is to be changed here, before any host is."""
    with suppress(NoAnswerError):
        why = reads_another_file(observation.seen(host))
        if why and observation.found(host, modes_in_use_now(host)):
            raise OtherFileError(f"{observation.name_of(host)}: {why}; nothing was changed", cure=OWN_FILE)


def refuse_locked() -> None:
    """Raises LockedError while an operator's `lbctl` changes the cluster. Plain pyinfra only looks: a lock is not left to it."""
    with suppress(NoAnswerError):
        seen = observation.seen(host).lock
        for lock in locks({observation.name_of(host): seen}):
            if not lock.why_stale(here.machine(), here.runs):
                message, cure = refusal(lock, "")
                raise LockedError(f"{message}; nothing was changed", cure=cure)


def refuse_moving_gateway() -> None:
    """Raises MovingGatewayError while nat's gateway must not change, before any host is changed."""
    with suppress(NoAnswerError):
        declaration = observation.blueprint(host).declaration
        seen = states(host, "directors"), states(host, "real_servers")
        if moves := moves_in_use(declaration, *seen, modes_in_use_now(host)):
            raise MovingGatewayError(f"{moves[0]}; nothing was changed", cure=moves[1])


@deploy("director")
def float_first() -> None:
    """nat's gateway begins to float: the director that serves has it before servers are sent there."""
    if observation.name_of(host) == first_to_float(observation.blueprint(host).declaration, states(host, "directors")):
        gate.passed(name="gate: servers are ready")
        configure()


@deploy("director")
def leave() -> None:
    """This director stops for good. What it holds goes to one that stays before it lets go, if one stays."""
    gate.heir_is_ready(name="gate: another director serves as well")
    keepalived.stopped(name="keepalived stops for good")
    keepalived.handed_over(name="another director holds the addresses")


@deploy("director")
def configure() -> None:
    """keepalived and what it needs, for the declared mode and those that directors still use; then what tells of it."""
    modes = modes_in_use_now(host)
    gate.agreed(name="gate: peers agree")
    thing.present(name="network", things=NETWORK, modes=modes)
    keepalived.configured(name="keepalived", modes=modes)
    thing.present(name="metrics", things=(Thing.METRICS,), modes=modes)


@deploy("director")
def withdraw() -> None:
    """Former places of services, once no client is connected there."""
    keepalived.withdrawn(name="former ports")


@deploy("director")
def retire() -> None:
    """Leftovers of modes that nobody uses any more."""
    thing.absent(name="leftovers")
