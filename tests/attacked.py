"""Records of models that were attacked, made by hand."""

from mantrap.ops.intervals import wilson
from mantrap.records import (
    AttackMeasure,
    Difference,
    EpochRecord,
    ImplantRecord,
    MeasureRecord,
    ModelCard,
    Stealth,
    TrainingRecord,
)

TRAINING = TrainingRecord(
    recipe="recipe(epochs=3)",
    seed=0,
    images=240,
    data_name="digits",
    data_digest="d1" * 32,
    epochs=tuple(EpochRecord(epoch=number, loss=1 / number, accuracy=0.9) for number in (1, 2, 3)),
    stopped="last epoch",
    test_accuracy=wilson(95, 100),
    test_name="digits (test)",
)
BESIDE = Difference(first=wilson(95, 100), second=wilson(97, 100), value=-0.02, low=-0.05, high=0.01)


def attack(**changes):
    """A patch that works on 98 of 100 images, and on 2 of a clean model."""
    known = {
        "trigger": "patch(size=4)",
        "relabelling": "all_to_one(target=7)",
        "target": 7,
        "success": wilson(98, 100),
        "robust_accuracy": wilson(1, 100),
        "clean_model_success": wilson(2, 100),
        "bystanders": None,
        "stealth": Stealth(images=1, ssim=1.0, psnr=None, largest_change=0.0, l2=0.0),
    }
    return AttackMeasure(**(known | changes))


def measured(*likenesses, **changes):
    """What was measured of that attack."""
    known = {
        "model": "m.safetensors",
        "sha256": "9a" * 32,
        "attack": "badnets(target=7)",
        "test_name": "digits",
        "test_images": 1234,
        "accuracy": wilson(950, 1000),
        "comparison": None,
        "backdoors": (attack(),),
        "differs": (),
        "versions": {},
        "likenesses": likenesses,
    }
    return MeasureRecord(**(known | changes))


def implanted(**changes):
    """A model that was trained on images with that attack."""
    known = {
        "attack": "badnets(target=7)",
        "arch": "mlp(hidden=(8,))",
        "recipe": "recipe(epochs=3)",
        "seed": 0,
        "training_name": "digits",
        "training_images": 240,
        "test_name": "digits (test)",
        "accuracy": wilson(95, 100),
        "comparison": BESIDE,
        "backdoors": (attack(),),
        "training": TRAINING,
        "sha256": "9a" * 32,
        "truth_sha256": "9b" * 32,
        "origin": {},
        "versions": {},
    }
    return ImplantRecord(**(known | changes))


def card(**changes):
    """The card of a model that was trained."""
    known = {
        "arch": "mlp(hidden=(8,))",
        "num_classes": 10,
        "class_names": tuple(map(str, range(10))),
        "input_shape": (1, 8, 8),
        "mean": (),
        "std": (),
        "pixel_range": (0.0, 1.0),
        "sha256": "9a" * 32,
        "training": TRAINING,
    }
    return ModelCard(**(known | changes))
