"""The guards of values of a project's own types, and the tests that must notice."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

FLOOR = "tests/floors/test_storable.py::"
REFUSALS = "tests/floors/test_storable_refusals.py::"
DECLARED = "tests/floors/test_storable_declared.py::"
WORKER = "tests/worker/execution/test_own_types.py::"

MUTANTS: Final = (
    Mutant(
        "a value of a newer version is not read",
        (("payload/registry.py", "if version > self.version:", "if False:"),),
        (f"{FLOOR}test_what_this_code_does_not_know_is_as_an_unknown_target[newer]",),
    ),
    Mutant(
        "a value without an upgrade is told from one whose upgrade raises",
        (("payload/registry.py", "if steps and version not in self.upgrades:", "if False:"),),
        (f"{FLOOR}test_what_this_code_does_not_know_is_as_an_unknown_target[too old]",),
    ),
    Mutant(
        "an error of a project's own function isn't the context of what is raised",
        (
            (
                "payload/registry.py",
                "            why = _told(error)\n",
                "            raise UnstorableError(self.type.__name__, _told(error)) from error\n",
            ),
        ),
        (f"{REFUSALS}test_a_store_that_raises_is_refused_by_path_without_its_text",),
    ),
    Mutant(
        "what isn't the registered type is not given to a target",
        (("payload/registry.py", "if isinstance(value, self.type):", "if True:"),),
        (f"{REFUSALS}test_a_load_that_returns_something_else_is_told",),
    ),
    Mutant(
        "what `store` returns is held to the limit of depth",
        (
            (
                "payload/codec.py",
                "_require_room(depth)\n    return {TAG: registered.tag",
                "return {TAG: registered.tag",
            ),
        ),
        (f"{REFUSALS}test_what_store_returns_is_held_to_the_limit_of_depth",),
    ),
    Mutant(
        "a name is one type's",
        (
            (
                "payload/registry.py",
                "if holder is not None and own_name(holder.type) != own_name(new.type):",
                "if False:",
            ),
        ),
        (f"{DECLARED}test_it_is_refused_and_nothing_is_registered[taken]",),
    ),
    Mutant(
        "a class is registered once",
        (("payload/registry.py", "if known is not None and known.name != new.name:", "if False:"),),
        (f"{DECLARED}test_it_is_refused_and_nothing_is_registered[twice]",),
    ),
    Mutant(
        "a class that inherits from a dataclass isn't stored by its base's fields",
        (
            (
                "payload/storable.py",
                'if not is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):',
                "if not is_dataclass(cls):",
            ),
        ),
        (f"{DECLARED}test_it_is_refused_and_nothing_is_registered[inherits]",),
    ),
    Mutant(
        "an unknown type is tried again, and doesn't fail for good",
        (
            (
                "worker/execution/outcomes.py",
                "HOPELESS: Final = (Tampered, InvalidArguments, ",
                "HOPELESS: Final = (UnknownTarget, Tampered, InvalidArguments, ",
            ),
        ),
        (f"{WORKER}test_a_worker_of_an_older_release_leaves_it_for_the_newer_one[sqlite]",),
    ),
    Mutant(
        "a caller that waits is told of an ending whose result has an unknown type",
        (
            (
                "results/outcomes.py",
                "except (UnknownKey, UnknownType, Res",
                "except (UnknownKey, Res",
            ),
        ),
        (f"{WORKER}test_who_waits_learns_how_it_ended_without_the_type_of_the_result[sqlite]",),
    ),
)
