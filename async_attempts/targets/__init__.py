"""Targets: what may be called, its name in a row, and how the name becomes a callable again."""

from .arguments import check_arguments
from .decorator import attemptable
from .importable import import_class
from .instances import load_by_text, load_instance
from .known import KnownTarget, known_target
from .methods import method_of
from .naming import TargetName, name_of, target_column
from .pacing import Pacing, pacing_of
from .policy import Policy, seconds_of
from .registry import is_marked, own_name, policy_of, reading_of, registered, underlying
from .resolving import Resolved, resolve

__all__ = [
    "KnownTarget",
    "Pacing",
    "Policy",
    "Resolved",
    "TargetName",
    "attemptable",
    "check_arguments",
    "import_class",
    "is_marked",
    "known_target",
    "load_by_text",
    "load_instance",
    "method_of",
    "name_of",
    "own_name",
    "pacing_of",
    "policy_of",
    "reading_of",
    "registered",
    "resolve",
    "seconds_of",
    "target_column",
    "underlying",
]
