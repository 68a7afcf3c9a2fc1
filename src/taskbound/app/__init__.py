"""The composition root: from a configuration to a world, its lanes and its doors. Alone it knows all names.

Clock and randomness enter here and nowhere else: steps get the time from their transaction and
ids from their world.
"""

from taskbound.app.audit import audit_erase, audit_export, audit_has_second_place, audit_tail, file_sink
from taskbound.app.places import load_config, second_place, state_directory
from taskbound.app.policy import check_policy
from taskbound.app.up import up
from taskbound.app.world import in_memory, new_handle, new_id, new_password, now, open_state

__all__ = [
    "audit_erase",
    "audit_export",
    "audit_has_second_place",
    "audit_tail",
    "check_policy",
    "file_sink",
    "in_memory",
    "load_config",
    "new_handle",
    "new_id",
    "new_password",
    "now",
    "open_state",
    "second_place",
    "state_directory",
    "up",
]
