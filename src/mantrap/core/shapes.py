"""Names for the shapes in signatures; the tests check them with beartype."""

from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "n c h w"]
"""A batch of images in pixel space, values in [0, 1]."""
Labels = Int64[Tensor, "n"]
Logits = Float[Tensor, "n k"]
Mask = Float[Tensor, "h w"]
Pattern = Float[Tensor, "c h w"]
Scores = Float[Tensor, "k"]
