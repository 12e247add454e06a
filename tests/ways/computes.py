"""Ways to compute: in Python, in C code with the GIL and without; and other things that keep the loop from going on."""

import asyncio
import bz2
import collections
import copy
import ctypes
import difflib
import gc
import hashlib
import json
import lzma
import os
import pickle
import random
import re
import sys
import textwrap
import threading
import time
import zlib

from waits import FOLDER
from way import TIME, times, way

usleep = ctypes.PyDLL(None).usleep
sys.set_int_max_str_digits(0)
NEEDS = {}  # by the name of a way: a function that makes what it needs, as large as it takes here
made = {}  # and what that was


def needs(make):
    """What the way needs is made before the loop runs."""

    def keep(function):
        NEEDS[function.__name__] = make
        return function

    return keep


def prepare(name):
    """Makes what this way needs, in place of what another one needed."""
    made.clear()
    if name in NEEDS:
        made[name] = NEEDS[name]()


def until_it_lasts(work, value, larger):
    """The first of the values, each larger than the one before, with which the work takes the time of a way."""
    while True:
        begun = time.thread_time()
        work(value)
        if time.thread_time() - begun > TIME[0]:
            return value
        value = larger(value)


# ---- what ways need: so much of it that the work takes the time of a way

WORDS = [str(number) for number in range(1000)]
LINE = "x = [y + 1 for y in range(7)]\n"
MEMORY = 1 << 30


def sum_of_squares(n):
    total = 0
    for number in range(n):
        total += number * number


def remainders(n):
    return [number * number % 7 for number in range(n)]


def digits(n):
    text = ""
    for number in range(n):
        text += str(number)


def rows(work):
    def some(n):
        return [{"id": number, "v": [number, number + 0.5], "name": "some"} for number in range(n)]

    return some(times(lambda n: work(some(n)), 250))


def similarity(n):
    return difflib.SequenceMatcher(None, "ab" * n, "ba" * n, autojunk=False).ratio()  # here


def backtracking():
    return until_it_lasts(lambda text: re.match(r"(a+)+$", text), "a" * 16 + "b", lambda text: "a" + text)


def floats(n):
    return [random.random() for _ in range(n)]


def a_third_longer(value):
    return value * value >> value.bit_length() * 2 // 3


def json_text(n):
    return "[" + ",".join(['{"id": 1, "v": [1, 1.5], "name": "some"}'] * n) + "]"


def pickled(n):
    return pickle.dumps([float(number) for number in range(n)])


def noise(work):
    some = bytes(random.choices(b"abcdefgh", k=100_000))
    return some * times(lambda n: work(some * n))


def much_to_look_at():
    begun = time.thread_time()
    gc.collect()
    before = time.thread_time() - begun
    kept = [[[]] for _ in range(200_000)]
    begun = time.thread_time()
    gc.collect()
    took = max(time.thread_time() - begun - before, 0.001)
    return kept + [[[]] for _ in range(min(int(200_000 * TIME[0] * 1.5 / took), 4_000_000))]


# ---- in Python


@way("python")
def while_loop():
    end = time.thread_time() + TIME[0]
    while time.thread_time() < end:  # here
        pass


@way("python")
@needs(lambda: times(sum_of_squares, 10_000))
def for_loop():
    total, n = 0, made["for_loop"]
    for number in range(n):  # here
        total += number * number  # here


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)  # here


def fibonaccis(n):
    for _ in range(n):
        fibonacci(15)


@way("python", like=fibonacci)
@needs(lambda: times(fibonaccis))
def recursion():
    fibonaccis(made["recursion"])


@way("python")
@needs(lambda: times(remainders, 10_000))
def comprehension():
    n = made["comprehension"]
    return [number * number % 7 for number in range(n)]  # here


@way("python")
@needs(lambda: times(remainders, 10_000))
def comprehension_over_lines():
    n = made["comprehension_over_lines"]
    return [
        number * number % 7  # here
        for number in range(n)  # here
    ]


@way("python")
@needs(lambda: times(lambda n: sum(number * number % 7 for number in range(n)), 10_000))
def generator():
    n = made["generator"]
    sum(number * number % 7 for number in range(n))  # here


def negative(number):
    return -number * 2 - number * 3 + number * number  # here


def sort_by(n):
    sorted(range(n), key=negative)  # here


@way("python", "gil", like=[negative, sort_by])
@needs(lambda: times(sort_by, 10_000))
def sort_with_key():
    sort_by(made["sort_with_key"])


@way("python")
@needs(lambda: times(digits, 10_000))
def string_building():
    text, n = "", made["string_building"]
    for number in range(n):  # here
        text += str(number)  # here


def make_classes(n):
    for _ in range(n):
        type("Some", (), {})  # here type


@way("python", "gil", "collector", advised="", like=make_classes)
@needs(lambda: times(make_classes, 100))
def classes():
    make_classes(made["classes"])


@way("python", "gil")
@needs(lambda: rows(lambda some: json.dumps(some, indent=1)))
def json_with_indent():
    json.dumps(made["json_with_indent"], indent=1)  # here json.dumps


def upper(found):
    return found.group().upper() + found.group().lower()[:0]  # here


def all_upper(text):
    re.sub(r"\w", upper, text)  # here


@way("python", "gil", like=[upper, all_upper])
@needs(lambda: "a" * times(lambda n: all_upper("a" * n), 10_000))
def sub_with_callback():
    all_upper(made["sub_with_callback"])


@way("python", "collector", advised="")
@needs(lambda: rows(copy.deepcopy))
def deepcopy():
    copy.deepcopy(made["deepcopy"])  # here copy.deepcopy


class Reduced:
    def __reduce__(self):
        return (Reduced, (), {"some": str(id(self))})  # here


def pickle_all(some):
    pickle.dumps(some)  # here


@way("python", "gil", like=[Reduced.__reduce__, pickle_all])
@needs(lambda: [Reduced() for _ in range(times(lambda n: pickle_all([Reduced() for _ in range(n)]), 1000))])
def pickle_with_reduce():
    pickle_all(made["pickle_with_reduce"])


@way("python", like=similarity)
@needs(lambda: until_it_lasts(similarity, 50, lambda n: n * 5 // 4))
def difference():
    similarity(made["difference"])


@way("python", "gil")
@needs(lambda: times(lambda n: textwrap.wrap("some words " * n), 100))
def wrap():
    textwrap.wrap("some words " * made["wrap"])  # here textwrap.wrap


def raise_and_catch(n):
    for _ in range(n):  # here
        try:  # here
            raise ValueError  # here
        except ValueError:  # here
            pass  # here


@way("python", like=raise_and_catch)
@needs(lambda: times(raise_and_catch, 10_000))
def exceptions():
    raise_and_catch(made["exceptions"])


def count_again_and_again(n):
    text = "a" * 20_000
    for _ in range(n):
        text.count("b")  # here text.count


@way("python", like=count_again_and_again)
@needs(lambda: times(count_again_and_again, 100))
def many_short_c_calls():
    count_again_and_again(made["many_short_c_calls"])


# ---- in C code that has the GIL


@way("gil")
@needs(lambda: backtracking())
def regular_expression():
    re.match(r"(a+)+$", made["regular_expression"])  # here re.match


@way("gil")
@needs(lambda: floats(times(lambda n: sorted(floats(n)), 20_000) * 2))
def sort():
    sorted(made["sort"])  # here sorted


@way("gil")
@needs(lambda: until_it_lasts(lambda n: 3**n, 100_000, lambda n: n * 5 // 4))
def power():
    3 ** made["power"]  # here


@way("gil")
@needs(lambda: until_it_lasts(lambda a: a * a, 3**100_000, a_third_longer))
def multiplication():
    a = made["multiplication"]
    b = a * a  # here a * a
    return b, len("abc")


@way("gil", "python")  # large numbers are converted in Python
@needs(lambda: until_it_lasts(str, 3**10_000, a_third_longer))
def number_to_text():
    str(made["number_to_text"])  # here str


@way("gil", "python")  # large numbers are converted in Python
@needs(lambda: until_it_lasts(str, 3**10_000, a_third_longer))
def format_number():
    return f"{made['format_number']}"  # here


@way("gil")
@needs(lambda: json_text(times(lambda n: json.loads(json_text(n)), 1000)))
def json_loads():
    json.loads(made["json_loads"])  # here json.loads


@way("gil")
@needs(lambda: rows(json.dumps))
def json_dumps():
    json.dumps(made["json_dumps"])  # here json.dumps


@way("gil", "python")
@needs(lambda: (times(lambda n: [object() in range(300_000) for _ in range(n)]), list(range(300_000))))
def contains():
    o, (n, numbers) = object(), made["contains"]
    for _ in range(n):  # here
        assert o not in numbers  # here


@way("gil")
@needs(lambda: WORDS * times(lambda n: ",".join(WORDS * n), 10))
def join():
    ",".join(made["join"])  # here


@way("gil")
@needs(lambda: times(lambda n: sum(range(n)), 100_000))
def sum_of_range():
    sum(range(made["sum_of_range"]))  # here sum


@way("gil")
@needs(lambda: floats(times(lambda n: max(floats(n), key=abs), 10_000) * 3))
def largest():
    max(made["largest"], key=abs)  # here max


def copy_dict(n):
    some = dict.fromkeys(range(100_000))
    for _ in range(n):
        dict(some)  # here dict


@way("gil", "python", like=copy_dict)
@needs(lambda: times(copy_dict, 30))
def copy_of_dict():
    copy_dict(made["copy_of_dict"])


@way("gil")
@needs(lambda: floats(times(lambda n: set(floats(n)), 10_000) * 2))
def set_of_floats():
    set(made["set_of_floats"])  # here set


@way("gil")
def hold():
    usleep(int(TIME[0] * 1e6))  # here usleep


@way("gil")
@needs(lambda: LINE * times(lambda n: compile(LINE * n, "some", "exec"), 100))
def compile_source():
    compile(made["compile_source"], "some", "exec")  # here compile


@way("gil")
@needs(lambda: "abcd" * times(lambda n: re.findall("a|b|c", "abcd" * n), 1000))
def find_all():
    re.findall("a|b|c", made["find_all"])  # here re.findall


@way("gil")
@needs(lambda: "abcd" * times(lambda n: collections.Counter("abcd" * n), 1000))
def count_all():
    collections.Counter(made["count_all"])  # here collections.Counter


@way("gil")
@needs(lambda: pickled(times(lambda n: pickle.loads(pickled(n)), 10_000) * 2))
def unpickle():
    pickle.loads(made["unpickle"])  # here pickle.loads


@way("gil")
@needs(lambda: "abcd" * times(lambda n: ("abcd" * n).replace("a", "xyz").replace("b", "xyz"), 10_000))
def replace():
    made["replace"].replace("a", "xyz").replace("b", "xyz").count("nobody")  # here


# ---- in C code that lets go of it


@way("native")
@needs(lambda: times(lambda n: hashlib.pbkdf2_hmac("sha256", b"x", b"y", n), 1000))
def pbkdf2():
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", made["pbkdf2"])  # here hashlib.pbkdf2_hmac


@way("native")
@needs(
    lambda: until_it_lasts(
        lambda n: hashlib.scrypt(b"x", salt=b"y", n=n, r=8, p=1, maxmem=MEMORY), 1 << 10, lambda n: min(n * 2, 1 << 19)
    )
)
def scrypt():
    hashlib.scrypt(b"x", salt=b"y", n=made["scrypt"], r=8, p=1, maxmem=MEMORY)  # here hashlib.scrypt


@way("native")
@needs(lambda: noise(zlib.compress))
def compress():
    zlib.compress(made["compress"])  # here zlib.compress


@way("native")
@needs(lambda: noise(bz2.compress))
def compress_bz2():
    bz2.compress(made["compress_bz2"])  # here bz2.compress


@way("native")
@needs(lambda: noise(lzma.compress))
def compress_lzma():
    lzma.compress(made["compress_lzma"])  # here lzma.compress


@way("native")
@needs(lambda: bytes(times(lambda n: hashlib.sha256(bytes(n)), 1_000_000) * 2))
def digest():
    hashlib.sha256(made["digest"]).digest()  # here hashlib.sha256


# ---- garbage


@way("collector")
@needs(lambda: much_to_look_at())
def collect():
    gc.collect()  # here gc.collect


def make_garbage(n):
    some = []
    for _ in range(n):  # here
        some.append([])  # here


@way("collector", like=make_garbage)
@needs(lambda: much_to_look_at())
def collect_by_itself():
    before = gc.get_threshold()
    gc.set_threshold(100, 1, 1)
    make_garbage(len(made["collect_by_itself"]) // 10)
    gc.set_threshold(*before)


# ---- imports


def module(name, source):
    path = os.path.join(FOLDER, f"{name}.py")
    with open(path, "w") as file:
        file.write(source)
    if FOLDER not in sys.path:
        sys.path.append(FOLDER)


@way("sleep", at=(os.path.join(FOLDER, "sleeps.py"), 2))
def import_that_sleeps():
    module("sleeps", f"import time\ntime.sleep({TIME[0]})  # here\n")
    import sleeps  # noqa: F401  # here


@way("import", at=(os.path.join(FOLDER, "counts.py"), 3))
def import_that_computes():
    module("counts", f"import time\nend = time.thread_time() + {TIME[0]}\nwhile time.thread_time() < end: pass\n")
    import counts  # noqa: F401  # here


# ---- another thread


def hold_elsewhere():
    time.sleep(0.02)
    usleep(int(TIME[0] * 1e6))  # here


@way("thread", like=hold_elsewhere)
async def thief_of_an_idle_loop():
    thread = threading.Thread(target=hold_elsewhere, name="thief")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.002)


@way("thread", like=hold_elsewhere)
def thief():
    thread = threading.Thread(target=hold_elsewhere, name="thief")
    thread.start()
    while thread.is_alive():
        pass


def match_elsewhere():
    time.sleep(0.02)
    re.match(r"(a+)+$", made["thief_with_regular_expression"])  # here


@way("thread", like=match_elsewhere)
@needs(lambda: backtracking())
async def thief_with_regular_expression():
    thread = threading.Thread(target=match_elsewhere, name="thief")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.002)


# ---- many steps


def step():
    end = time.thread_time() + TIME[0] / 60
    while time.thread_time() < end:  # here
        pass


@way("steps", like=step)
async def burst():
    loop = asyncio.get_running_loop()
    for _ in range(60):
        loop.call_soon(step)
    await asyncio.sleep(0)


@way("steps", like=step)
async def timers():
    loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    for _ in range(60):
        loop.call_at(now + 0.01, step)
    await asyncio.sleep(0.02)


async def step_of_task():
    end = time.thread_time() + TIME[0] / 60
    while time.thread_time() < end:  # here
        pass


@way("steps", like=step_of_task)
async def tasks():
    await asyncio.gather(*(step_of_task() for _ in range(60)))


# ---- two lines


@way("sleep", "gil", advised="")
def short_and_long():
    time.sleep(TIME[0] * 0.3)  # first
    usleep(int(TIME[0] * 1.2e6))  # here usleep


@way("sleep")
def long_and_short():
    time.sleep(TIME[0])  # here time.sleep
    end = time.monotonic() + TIME[0] * 0.2
    while time.monotonic() < end:
        pass
