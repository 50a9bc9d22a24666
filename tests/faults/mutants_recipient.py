"""The guards of what is sealed for recipients: who can open it, and who can't forge it."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

HPKE = "encryption/hpke.py"
CIPHER = "encryption/recipient.py"
RECIPIENT = "tests/floors/test_recipient.py::"
WORKER = "tests/worker/execution/test_recipients.py::"
FLIPPED = f"{RECIPIENT}test_every_flipped_bit_is_tampering"

MUTANTS: Final = (
    Mutant(
        "the shared secret without which a public key seals nothing that opens",
        (
            (
                HPKE,
                '_extract(_HPKE, secret, b"secret", shared.psk)',
                '_extract(_HPKE, secret, b"", b"")',
            ),
        ),
        (f"{RECIPIENT}test_the_public_key_alone_forges_nothing[none]",),
    ),
    Mutant(
        "the binding of a sealed value to its ephemeral key",
        ((HPKE, "enc + recipient)", "recipient)"),),
        (FLIPPED,),
    ),
    Mutant(
        "the refusal of ephemeral keys of small order",
        (
            (
                CIPHER,
                "            # A public key of small order, which",
                "            raise  # which",
            ),
        ),
        (f"{RECIPIENT}test_an_ephemeral_key_of_small_order_is_tampering[0]",),
    ),
    Mutant(
        "the new ephemeral key of each minute",
        ((CIPHER, "if monotonic() >= self._sending.ends_at:", "if False:"),),
        (f"{RECIPIENT}test_an_ephemeral_key_is_used_for_a_minute",),
    ),
    Mutant(
        "the trial of an altered header with each recipient",
        ((CIPHER, "for pair in self._opening.values():", "for pair in ():"),),
        (FLIPPED,),
    ),
    Mutant(
        "the retirement of shared and private keys",
        ((CIPHER, "for pair in self._pairs if not pair.is_retired)", "for pair in self._pairs)"),),
        (f"{RECIPIENT}test_what_is_retired_opens_for_rotation_alone[private key]",),
    ),
    Mutant(
        "the refusal to start a worker that opens nothing",
        (
            (
                "management/commands/run_attempts.py",
                "if problem := opening_problem():",
                "if problem := None:",
            ),
        ),
        (f"{WORKER}test_a_worker_without_private_keys_does_not_start[sqlite]",),
    ),
    Mutant(
        "the wait for a result that this process can't read",
        (
            (
                "results/outcomes.py",
                "except (UnknownKey, UnknownType, ResultTooLarge) as error:",
                "except (UnknownType, ResultTooLarge) as error:",
            ),
        ),
        (f"{WORKER}test_who_only_waits_is_told_how_it_ended[sqlite]",),
    ),
)
