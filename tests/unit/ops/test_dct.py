"""The discrete cosine transform against SciPy's, and what an orthonormal transform keeps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from mantrap.ops.dct import dct, dct_matrix, idct

SHAPES = [(2, 3, 32, 32), (1, 1, 28, 28), (2, 1, 7, 12), (1, 3, 1, 5), (3, 2, 1, 1)]

for_each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def noise(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@for_each_shape
def test_it_is_scipys_orthonormal_transform_of_type_2(shape):
    expected = dctn(noise(shape).double().numpy(), type=2, norm="ortho", axes=(2, 3))
    torch.testing.assert_close(dct(noise(shape).double()), torch.from_numpy(expected), atol=1e-12, rtol=0)


@for_each_shape
def test_the_inverse_is_scipys_and_brings_the_images_back(shape):
    expected = idctn(noise(shape).double().numpy(), type=2, norm="ortho", axes=(2, 3))
    torch.testing.assert_close(idct(noise(shape).double()), torch.from_numpy(expected), atol=1e-12, rtol=0)
    back = idct(dct(noise(shape)))
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, noise(shape), atol=1e-5, rtol=0)


@given(size=st.integers(1, 40))
def test_the_rows_of_the_matrix_are_orthonormal(size):
    matrix = dct_matrix(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_first_axis_of_a_spectrum_is_down_the_rows():
    rows = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 4)
    spectrum = dct(rows)[0, 0]
    assert float(spectrum[1:, 0].abs().max()) > 1
    torch.testing.assert_close(spectrum[:, 1:], torch.zeros(8, 3), atol=1e-5, rtol=0)
