"""What operations write, as text. Templates see the typed model only; an undefined name is an error."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from cluster.units import decimal


@cache
def _environment() -> Environment:
    # Only pages are escaped: in keepalived.conf it would turn & into &amp;.
    environment = Environment(
        loader=FunctionLoader(lambda name: (files("templates") / name).read_text()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),  # noqa: S701 (it is one)
    )
    environment.filters["plain"] = decimal
    return environment


@cache
def _program(name: str) -> str:
    return (files("clustercheck") / name).read_text()


def render(name: str, values: Mapping[str, Any]) -> str:
    """The text of template `name`. Programs (.py) are shipped as they are. Raises jinja2.UndefinedError."""
    if name.endswith(".py"):
        return _program(name)
    return _environment().get_template(name).render(values)
