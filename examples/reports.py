"""Who blocks the loop: as a record for your own code, as a test that fails, as a list of the worst lines.

Prints the call that blocked, three times.
"""

import io
import logging
import time

import everloop

logging.getLogger("everloop").addHandler(logging.NullHandler())  # the log would get a report of each as well
everloop.set_report("text")  # or "json", or "off"


async def block() -> None:
    time.sleep(0.3)


def tell(record: dict) -> None:
    if record["state"] == "ended":
        print("told of:", record["call"])


with everloop.on_block(tell):
    everloop.run(block())

try:
    with everloop.no_blocking(0.05):
        everloop.run(block())
except everloop.BlockingError as error:
    print("a test fails:", error.records[0]["call"])

worst = everloop.worst_lines()
print("blocked most:", worst[0]["call"])

text = io.StringIO()
everloop.print_worst_lines(file=text)
assert "time.sleep" in text.getvalue()
