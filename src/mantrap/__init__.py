"""mantrap holds a neural network between two doors until it is known what it does."""

__version__ = "0.1.0"
