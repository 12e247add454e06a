"""The logger of everloop. Its name is public: programs configure `logging.getLogger("everloop")`."""

import logging

__all__ = ["logger"]

logger = logging.getLogger("everloop")
