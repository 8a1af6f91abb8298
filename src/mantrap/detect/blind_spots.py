"""What detectors cannot see, in words that they share: what one of several sees is no blind spot of them all."""

from typing import Final

SOME_CLASSES: Final = "Backdoors that react to some classes only."
ONE_TARGET: Final = "Backdoors that send every class to one and the same label."
EACH_TO_ANOTHER: Final = "Backdoors that send every class to another one."
SPREAD: Final = "Triggers that cover much of the image, blended or too faint to see."
WARPING: Final = "Triggers that warp the image."
CHANGING: Final = "Triggers that differ from image to image."
EVERY_LABEL: Final = "Backdoors in all labels at once, of which none stands out."
PATCHES: Final = "Small patches at a fixed place, where they need much contrast."

NOT_ALL_TO_ONE: Final = (SOME_CLASSES, EACH_TO_ANOTHER)

SHARED: Final = (ONE_TARGET, *NOT_ALL_TO_ONE, SPREAD, WARPING, CHANGING, EVERY_LABEL, PATCHES)
