"""Several p-values as one: Fisher where the tests agree, Bonferroni where they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.ops.joining import joined

CHANCES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=4)


@given(CHANCES)
def test_tests_that_agree_are_joined_as_fisher_has_it(chances):
    expected = stats.combine_pvalues(chances, method="fisher").pvalue

    assert joined([(p, 7) for p in chances])[0] == pytest.approx(expected, rel=1e-6)


@given(CHANCES.filter(lambda chances: len(chances) > 1))
def test_of_tests_that_do_not_agree_the_smallest_counts_times_their_number(chances):
    found = [(p, label) for label, p in enumerate(chances)]

    assert joined(found) == (min(1.0, len(chances) * min(chances)), chances.index(min(chances)))


def test_one_test_is_itself_and_none_is_none():
    assert joined([(0.03, 2)]) == (pytest.approx(0.03), 2)
    assert joined([]) is None


def test_without_a_backdoor_small_values_are_no_more_frequent_than_they_say():
    stream = np.random.default_rng(0)
    chances, labels = stream.random((4000, 2)).tolist(), stream.integers(0, 3, (4000, 2)).tolist()
    found = np.array([joined(list(zip(*one, strict=True)))[0] for one in zip(chances, labels, strict=True)])

    for level in (0.01, 0.05, 0.2):
        assert (found < level).mean() <= level + 3 * (level / 4000) ** 0.5
