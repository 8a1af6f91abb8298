"""Fine-tuning on clean images: what any repair has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Repaired, ReversedTrigger, Rng, spec_of
from mantrap.repair.tuning import Tuning, with_answers


@dataclass(frozen=True, kw_only=True)
class FineTuning(Tuning):
    """Train on with clean images alone, with no knowledge of a trigger.

    Use it as the control arm: what a repair gains beyond this is owed to the trigger. By itself it leaves most
    backdoors as they are, unless steps are so long that much of the model is forgotten.

    Args: those of :class:`~mantrap.repair.tuning.Tuning`.

    Reference: the arm "clean images only" of Wang et al., Neural Cleanse, IEEE S&P 2019, table VII.
    """

    name: ClassVar[str] = "fine_tuning"
    quick: ClassVar[str] = "fine_tuning(updates=4)"
    needs_triggers: ClassVar[bool] = False

    @property
    def control(self) -> "FineTuning":
        """Itself."""
        return self

    def repair(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        triggers: Sequence[ReversedTrigger] = (),
        rng: Rng,
        progress: Progress = SILENT,
    ) -> Repaired:
        """Train on; triggers are not looked at.

        Raises:
            DataError: Images that do not fit the model.
            UsageError: There is but one image.
            FailedError: The training diverged.
        """
        del triggers
        learned, asked = with_answers(model, clean)
        learned = self.whole_batches(learned)
        made, cost = self.tuned(model, learned, rng=rng.child(self.name), progress=progress)
        return Repaired(made, str(spec_of(self)), len(learned), asked + cost)
