"""A differential fuzzer: random programs run on asyncio and on everloop, and what must be equal is compared.

    python tests/fuzz --seconds 60                     new seeds for a minute
    python tests/fuzz --seed 7 --count 100             programs 7 to 106
    python tests/fuzz --seed 7 --rescue-after 0.001    one program again
    python tests/fuzz --program target/fuzz/7.json     a program that was made smaller

A program is data (programs.py), made from a seed. Its tasks are made of operations (operations/), whose steps block in
one way or another (ways/). It runs on asyncio's own loop, on everloop, and on everloop with rescue (running.py). Each
task writes down what came of its operations; witness.py looks on meanwhile, and leftovers.py afterwards. What differs
is a fault (comparing.py), and so is a crash, and a program that does not end (workers.py): it is made smaller
(shrinking.py) and printed (listing.py) with the command that runs it again.

The order between tasks may differ, since a step that blocks is put aside while others run. The order in a task may not.
"""
