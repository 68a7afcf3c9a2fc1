"""The composition root: from a configuration to a world, its lanes and its doors. Alone it knows all names.

Clock and randomness enter here and nowhere else: steps get the time from their transaction and
ids from their world. A name is imported when it is first asked for (PEP 562): a command that reads
files does not wait for the server's imports.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskbound.app.audit import audit_erase, audit_export, audit_has_second_place, audit_tail, file_sink
    from taskbound.app.doctor import examine
    from taskbound.app.places import database_of, likely_second_place, load_config, state_directory
    from taskbound.app.policy import check_policy, explain_profile, policy_schema, try_policy
    from taskbound.app.world import in_memory, new_handle, new_id, new_password, now, open_state

_MODULES = {
    "audit": ("audit_erase", "audit_export", "audit_has_second_place", "audit_tail", "file_sink"),
    "doctor": ("examine",),
    "places": ("database_of", "likely_second_place", "load_config", "state_directory"),
    "policy": ("check_policy", "explain_profile", "policy_schema", "try_policy"),
    "world": ("in_memory", "new_handle", "new_id", "new_password", "now", "open_state"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "audit_erase",
    "audit_export",
    "audit_has_second_place",
    "audit_tail",
    "check_policy",
    "database_of",
    "examine",
    "explain_profile",
    "file_sink",
    "in_memory",
    "likely_second_place",
    "load_config",
    "new_handle",
    "new_id",
    "new_password",
    "now",
    "open_state",
    "policy_schema",
    "state_directory",
    "try_policy",
]


def __getattr__(name: str) -> Any:
    if (module := _MODULE_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
