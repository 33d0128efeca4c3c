"""One file a family. A solver is a frozen dataclass with ``init``, ``ask`` and ``tell``; see ``types.Solver``."""
