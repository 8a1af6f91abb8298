"""What an attacker knows and a defender must never see: which images were poisoned, how, and to what end."""

from dataclasses import field

from mantrap.records.base import SCHEMA_VERSION, Record


class Backdoor(Record):
    """One trigger and what it is meant to do; poisoning that plants no backdoor has the trigger ``no_trigger``.

    ``trigger`` is the spec of what goes on an image when the attack is used, ``training_trigger`` of what the training
    images carry; for most attacks they are the same. ``relabelling`` says which images are attacked and what their
    outcome shall be; ``target`` is the one label it leads to, where there is one. ``poisoned`` and ``covers`` are
    indices into the poisoned set; a cover carries the trigger and keeps its label.
    """

    trigger: str
    relabelling: str
    target: int | None
    training_trigger: str
    selection: str = ""
    poisoned: tuple[int, ...] = ()
    covers: tuple[int, ...] = ()


class GroundTruth(Record):
    """The answer to an exam: kept in a file of its own, read by ``measure`` alone.

    ``classes`` is how many the poisoned images had, which "the next class" depends on. ``tensors_sha256`` is the digest
    of the file with what the attack learned, such as a generator's weights; it lies beside this one. Attacks that learn
    nothing have none. ``origin`` is what all of this followed from (attack, seed, digests of images and model), by
    which a finished piece of work is known again.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "ground_truth"
    attack: str
    seed: int
    backdoors: tuple[Backdoor, ...]
    classes: int
    clean_digest: str = ""
    poisoned_digest: str = ""
    tensors_sha256: str = ""
    origin: dict[str, str] = field(default_factory=dict)
