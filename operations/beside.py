"""What a host is told beside the commands of its own operation."""

from typing import Any

from pyinfra.api import Host
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments


def beside_its_steps(host: Host, text: str, seconds: int) -> dict[str, Any]:
    """Arguments for a connector that runs a script: as whom, as the host's steps are; `seconds`: after which nobody waits."""
    known, _ = pop_global_arguments(host.state, host, {})
    arguments: dict[str, Any] = {key: value for key, value in known.items() if key in CONNECTOR_ARGUMENT_KEYS}
    return arguments | {"_stdin": text, "_timeout": seconds}
