"""Targets: what may be called, its name in a row, and how the name becomes a callable again."""

from .arguments import check_arguments
from .decorator import attemptable
from .importable import import_class
from .instances import load_by_text, load_instance
from .methods import method_of
from .naming import TargetName, name_of, target_column
from .policy import Policy
from .registry import policy_of, registered
from .resolving import Resolved, resolve

__all__ = [
    "Policy",
    "Resolved",
    "TargetName",
    "attemptable",
    "check_arguments",
    "import_class",
    "load_by_text",
    "load_instance",
    "method_of",
    "name_of",
    "policy_of",
    "registered",
    "resolve",
    "target_column",
]
