"""The tables of docs/parity.md, from what the cells have left."""
