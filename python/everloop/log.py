"""The loggers. Their names are public: programs configure `logging.getLogger("everloop")`."""

import logging

__all__ = ["asyncio_logger", "logger"]

logger = logging.getLogger("everloop")
asyncio_logger = logging.getLogger("asyncio")  # of messages that asyncio's own loops write in the same place
