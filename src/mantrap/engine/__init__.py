"""Run many independent tasks: here, or in processes of this machine. Knows nothing of what they do."""

from mantrap.engine.local import Engine, Here, Processes

__all__ = ["Engine", "Here", "Processes"]
