"""Every interpreter of a suite imports this at its start, those that its tests start too."""

import os

if os.environ.get("CONFORMANCE_LOOP") or os.environ.get("CONFORMANCE_ALIASES"):
    try:
        import conformance_child

        conformance_child.install()
    except Exception:  # a grandchild must not die of it; the run itself says so and ends
        import traceback

        traceback.print_exc()
