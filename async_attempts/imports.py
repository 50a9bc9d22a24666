"""Import modules and classes by a stored name; nothing else in the package does.

Allowed are names inside the packages of installed apps, and those that the setting `TARGETS` names.
Any other is refused before anything is imported, since importing runs code.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import ModuleType

from django.apps import apps

from .conf import SETTING, cached, settings
from .exceptions import InvalidTarget, UnknownTarget


@cached(SETTING, "INSTALLED_APPS")
def import_class(dotted_name: str) -> type:
    """Return the class called `dotted_name` ("shop.clients.OrderClient"), also one in a class.

    Raises InvalidTarget for a name that may not be imported, having imported nothing, or that is
    not a class's; UnknownTarget for a module or a class that this code does not have.
    """
    require_importable(dotted_name)
    _, owner = import_owner(dotted_name)
    if isinstance(owner, type):
        return owner
    raise InvalidTarget(f"{dotted_name!r} is a module, not a class.")


def require_importable(dotted_name: str) -> None:
    """Raise InvalidTarget unless `dotted_name` is in an installed app or matches `TARGETS`."""
    require_public(dotted_name)
    in_app = any(
        dotted_name == app.name or dotted_name.startswith(f"{app.name}.")
        for app in apps.get_app_configs()
    )
    if not in_app and not matches_targets(dotted_name):
        raise InvalidTarget(
            f"{dotted_name!r} is in no installed app: add its app to INSTALLED_APPS or name it in "
            f"{SETTING}['TARGETS']."
        )


def require_public(dotted_name: str) -> None:
    """Raise InvalidTarget for a name with an empty, private or dunder part."""
    for part in dotted_name.split("."):
        if not part.isidentifier() or part.startswith("_"):
            raise InvalidTarget(
                f"{dotted_name!r} can't be a target: {part!r} is no public name. Only names whose "
                f"every part is public can be called by name."
            )


def matches_targets(dotted_name: str) -> bool:
    """Return True if `TARGETS` has this very name, or a glob (`shop.clients.*`) that matches it."""
    return any(fnmatchcase(dotted_name, pattern) for pattern in settings().TARGETS)


def import_owner(dotted_name: str) -> tuple[ModuleType, ModuleType | type]:
    """Return the module in which `dotted_name` lies, and that module or the class that it names.

    For names that `require_importable` has let pass. Raises as `import_class` does.
    """
    module, class_path = _import_module_of(dotted_name)
    owner: ModuleType | type = module
    for name in class_path:
        # inspect.getattr_static would also find what belongs to the metaclass.
        found = namespace_of(owner, name)[name]
        if not isinstance(found, type):
            raise InvalidTarget(
                f"{dotted_name!r} can't be a target: {name!r} in {owner.__name__!r} is neither a "
                f"class nor a module of that package."
            )
        owner = found
    return module, owner


def namespace_of(owner: ModuleType | type, name: str) -> Mapping[str, object]:
    """Return the live namespace, the owner's own or a base's, that holds `name`.

    No descriptor or hook runs. Raises UnknownTarget if there is no such name.
    """
    for holder in owner.__mro__ if isinstance(owner, type) else (owner,):
        if name in vars(holder):
            return vars(holder)
    raise UnknownTarget(f"{owner.__name__!r} has no {name!r} in this version of the code.")


def _import_module_of(dotted_name: str) -> tuple[ModuleType, list[str]]:
    """Return the innermost module that `dotted_name` goes through, and the names left over."""
    module_name, *rest = dotted_name.split(".")
    module = _import(module_name)
    while rest and _is_submodule(module, module_name, rest[0]):
        module_name = f"{module_name}.{rest.pop(0)}"
        module = _import(module_name)
    return module, rest


def _is_submodule(package: ModuleType, package_name: str, name: str) -> bool:
    namespace = vars(package)
    if "__path__" not in namespace or not isinstance(namespace.get(name), ModuleType | None):
        return False
    full_name = f"{package_name}.{name}"
    return full_name in sys.modules or importlib.util.find_spec(full_name) is not None


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit, too: a script without a guard must end neither a request nor a worker.
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            raise UnknownTarget(f"There is no module {module_name!r} in this code.") from error
        raise UnknownTarget(
            f"The module {module_name!r} exists, but importing it failed inside: "
            f"{type(error).__name__}: {error}"
        ) from error
