"""Owns targets: which functions may be called, by what name, with what options and arguments.

It may import code by a stored name (`imports`) and read an instance's row (`instances`), but knows
neither the attempts' table nor what is done with one.
"""

from .crashes import crashes_allowed, is_at_most_once
from .debounce import DebounceOptions
from .decorator import (
    attemptable,
    current_name,
    is_marked,
    module_load_id,
    policy_of,
    policy_with,
    registered,
)
from .end_handlers import end_handler_of, end_handlers_of, has_end_handler
from .keyless import keyless_targets
from .keys import key_text, made_key
from .names import TargetName, own_name, target_column, underlying
from .one_of import OneOf
from .policy import LIMIT_KEY_LENGTH, EventOptions, Policy, TargetOptions, limit_of
from .routes import queue_of, route_of
from .shared_keys import KEY_OPTIONS, KeyOptions, key_options_of
from .signature import CallSignature
from .target import Target, known_policy, resolve, target_named, target_of

__all__ = [
    "KEY_OPTIONS",
    "LIMIT_KEY_LENGTH",
    "CallSignature",
    "DebounceOptions",
    "EventOptions",
    "KeyOptions",
    "OneOf",
    "Policy",
    "Target",
    "TargetName",
    "TargetOptions",
    "attemptable",
    "crashes_allowed",
    "current_name",
    "end_handler_of",
    "end_handlers_of",
    "has_end_handler",
    "is_at_most_once",
    "is_marked",
    "key_options_of",
    "key_text",
    "keyless_targets",
    "known_policy",
    "limit_of",
    "made_key",
    "module_load_id",
    "own_name",
    "policy_of",
    "policy_with",
    "queue_of",
    "registered",
    "resolve",
    "route_of",
    "target_column",
    "target_named",
    "target_of",
    "underlying",
]
