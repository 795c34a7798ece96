"""What operations write, as text. Templates see the typed model only; an undefined name is an error."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


@cache
def _environment() -> Environment:
    # No autoescape: it would turn & into &amp; in keepalived.conf.
    environment = Environment(
        loader=FunctionLoader(lambda name: (files("templates") / name).read_text()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (these are configuration files, not pages)
    )
    environment.filters["plain"] = plain
    return environment


@cache
def _program(name: str) -> str:
    return (files("clustercheck") / name).read_text()


def plain(number: float) -> str:
    """A number as keepalived reads it: without a needless fraction."""
    return f"{number:g}"


def render(name: str, values: Mapping[str, Any]) -> str:
    """The text of template `name`. Programs (.py) are shipped as they are. Raises jinja2.UndefinedError."""
    if name.endswith(".py"):
        return _program(name)
    return _environment().get_template(name).render(values)
