"""Targets: what may be called, its name in a row, and how the name becomes a callable again."""

from .arguments import check_arguments
from .decorator import attemptable
from .importable import import_class
from .instances import load_by_text, load_instance
from .known import KnownTarget, known_target
from .methods import known_policy, method_of
from .naming import TargetName, name_of, target_column
from .pacing import Pacing, pacing_of
from .places import LIMIT_KEY_LENGTH, place_of
from .policy import EventOptions, Policy, TargetOptions, policy_with
from .registry import is_marked, own_name, policy_of, reading_of, registered, underlying
from .resolving import Resolved, resolve

__all__ = [
    "LIMIT_KEY_LENGTH",
    "EventOptions",
    "KnownTarget",
    "Pacing",
    "Policy",
    "Resolved",
    "TargetName",
    "TargetOptions",
    "attemptable",
    "check_arguments",
    "import_class",
    "is_marked",
    "known_policy",
    "known_target",
    "load_by_text",
    "load_instance",
    "method_of",
    "name_of",
    "own_name",
    "pacing_of",
    "place_of",
    "policy_of",
    "policy_with",
    "reading_of",
    "registered",
    "resolve",
    "target_column",
    "underlying",
]
