"""What is installed beside us, read once.

Each question for plug-ins reads the papers of every installed package. pyinfra asks for each host of an inventory, and there is a
new inventory for each step; gevent asks for each module that it patches.
"""

import functools
import sys
from importlib import import_module, metadata
from types import ModuleType
from typing import Any


def read_once() -> None:
    """Has this process go by the first answer. What asked before by a name of its own is told, too."""
    everything = functools.cache(metadata.entry_points)

    @functools.cache
    def chosen(**wanted: Any) -> Any:
        return everything().select(**wanted)

    metadata.entry_points = chosen  # type: ignore[assignment]
    if (connectors := sys.modules.get("pyinfra.api.connectors")) is not None:
        connectors.entry_points = chosen  # type: ignore[attr-defined]


def when_used(name: str) -> None:
    """Has a module imported when something of it is used, not when it is named."""
    if name not in sys.modules:
        sys.modules[name] = _Later(name)


class _Later(ModuleType):
    """Stands for a module. (importlib's LazyLoader imports at any question, and some ask every module where its file is.)"""

    __file__ = None

    def __getattr__(self, wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), wanted)
