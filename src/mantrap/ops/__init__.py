"""Pure functions on tensors and numbers, one idea a file."""
