"""Synchronous code in a coroutine, and coroutines from synchronous code. Each wing answers a question of the user's:

| wing | question |
|---|---|
| `threads` | How do I call a function on a thread, and how many at once? |
| `executors` | How do I have an executor, or a subinterpreter, call one? |
| `processes` | How do I have another process call one? |
| `loops` | How does synchronous code wait for a coroutine? |
| `faces` | How do I use asynchronous things synchronously, and the reverse? |
| `deadlocks` | Who waits for whom, and what if that would never end? |

statistics.py tells what the bridge does at this moment. Nothing is imported here: `everloop` shows the public names.
"""
