"""Put a pattern on images through a mask."""

from jaxtyping import Float
from torch import Tensor

from mantrap.core.shapes import Images, Mask, Pattern


def stamp(
    images: Images, mask: Mask | Float[Tensor, "#n 1 h w"], pattern: Pattern | Float[Tensor, "#n c h w"]
) -> Images:
    """Replace each pixel by the pattern's as far as the mask says.

    Args:
        images: [n, c, h, w] in [0, 1].
        mask: [h, w] in [0, 1], or one for each image, [n, 1, h, w]; 0 keeps the image, 1 shows the pattern. A mask, not
            "the non-zero pixels of the pattern", so that black can be stamped.
        pattern: [c, h, w] in [0, 1], or one for each image.

    Returns:
        ``(1 - mask) * images + mask * pattern``, [n, c, h, w].

    Reference: Wang et al., Neural Cleanse, IEEE S&P 2019, equation 2.
    """
    return (1 - mask) * images + mask * pattern
