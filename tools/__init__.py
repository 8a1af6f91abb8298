"""What looks after the house itself: nothing here is part of the package."""
