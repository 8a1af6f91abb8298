"""A trained network for another number of classes."""

import pytest
import torch

from mantrap.core import Classifier, Rng, Spec
from mantrap.errors import ModelError, SpecError, UsageError
from mantrap.models import ARCHITECTURES, with_classes, wrap
from tests import strangers

SIZES = {"channels": 1, "height": 32, "width": 32, "num_classes": 7}
MORE = {"vgg16": {"hidden": 8}, "mlp": {"hidden": (8,)}, "wide_resnet": {"depth": 10}}
HEADS = {
    "mnist_cnn": {"fc2"},
    "gtsrb_cnn": {"classifier.3"},
    "deepid": {"out"},
    "vgg16": {"classifier.6"},
    "mlp": {"4"},
    "maxout": {"8"},
    "rbf": {""},  # the network is its own head
}


def trained(name, **preprocessing):
    spec = Spec(name, SIZES | MORE.get(name, {}))
    with Rng(5).child("test").as_global():
        module = ARCHITECTURES.create(spec).build()
        for buffer in module.buffers():
            buffer.add_(1)
    return Classifier(module.eval(), input_shape=(1, 32, 32), num_classes=7, arch=str(spec), **preprocessing)


def apart(first, second):
    """The layers whose weights are not the same."""
    names = first.module.state_dict()
    others = second.module.state_dict()
    return {n.rpartition(".")[0] for n, t in names.items() if not torch.equal(t, others[n])}


@pytest.mark.parametrize("name", ARCHITECTURES.names)
@pytest.mark.parametrize("classes", [2, 7, 12])
def test_all_but_the_head_keeps_its_weights_and_the_head_begins_anew(name, classes):
    old = trained(name)
    new = with_classes(old, classes, rng=Rng(0))

    assert new.num_classes == classes
    assert new.logits(torch.zeros(2, 1, 32, 32)).shape == (2, classes)
    assert ARCHITECTURES.create(new.arch).num_classes == classes
    # A bias that begins at 0 is 0 in both.
    assert {layer.partition(".bias")[0] for layer in apart(new, old)} == HEADS.get(name, {"head"})


def test_further_layers_begin_anew_where_that_is_asked_for():
    old = trained("gtsrb_cnn")
    assert apart(with_classes(old, 9, rng=Rng(0), fresh=("classifier",)), old) == {"classifier.0", "classifier.3"}
    with pytest.raises(UsageError, match=r"features\.0, .*classifier\.3, got 'fc'"):
        with_classes(old, 9, rng=Rng(0), fresh=("fc",))


def test_preprocessing_stays_and_the_classes_get_other_names():
    old = trained("mnist_cnn", mean=(0.1,), std=(0.3,), pixel_range=(0.0, 255.0), class_names=tuple("abcdefg"))
    new = with_classes(old, 2, rng=Rng(0), class_names=("yes", "no"))

    assert (new.mean, new.std, new.pixel_range) == (old.mean, old.std, old.pixel_range)
    assert new.class_names == ("yes", "no")
    assert with_classes(old, 2, rng=Rng(0)).class_names == ("0", "1")


def test_the_same_stream_gives_the_same_head_and_the_old_network_stays():
    old = trained("mnist_cnn")
    digest = old.digest()
    first, second, third = (with_classes(old, 4, rng=Rng(seed)).digest() for seed in (0, 0, 1))

    assert first == second != third
    assert old.digest() == digest


def test_what_is_none_of_our_architectures_is_refused():
    with pytest.raises(SpecError, match="an architecture out of"):
        with_classes(wrap(strangers.Templates(), input_shape=(1, 16, 16)), 4, rng=Rng(0))
    lie = trained("mnist_cnn")
    lie.arch = "deepid(channels=1, height=32, width=32)"
    with pytest.raises(ModelError, match="missing"):
        with_classes(lie, 4, rng=Rng(0))
    with pytest.raises(SpecError, match="num_classes"):
        with_classes(trained("mnist_cnn"), 1, rng=Rng(0))
