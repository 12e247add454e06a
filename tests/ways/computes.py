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

from waits import FOLDER, seen
from way import TIME, times, way

usleep = ctypes.PyDLL(None).usleep
sys.set_int_max_str_digits(0)
numbers = [random.random() for _ in range(300_000)]


def lasting(time_of=1.0):
    """True until the time of a way is over."""
    end = time.monotonic() + TIME[0] * time_of
    return lambda: time.monotonic() < end


# ---- in Python


@way("python")
def while_loop():
    end = time.monotonic() + TIME[0]
    while time.monotonic() < end:  # here
        pass


@way("python")
def for_loop():
    total, n = 0, sizes["for_loop"]
    for number in range(n):  # here
        total += number * number  # here


def sum_of_squares(n):
    total = 0
    for number in range(n):
        total += number * number


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)  # here


@way("python", like=fibonacci)
def recursion():
    goes_on = lasting()
    while goes_on():
        fibonacci(15)


@way("python")
def comprehension():
    n = sizes["comprehension"]
    return [number * number % 7 for number in range(n)]  # here


@way("python")
def comprehension_over_lines():
    n = sizes["comprehension"]
    return [
        number * number % 7  # here
        for number in range(n)  # here
    ]


@way("python")
def generator():
    n = sizes["generator"]
    sum(number * number % 7 for number in range(n))  # here


def negative(number):
    return -number * 2 - number * 3 + number * number  # here


@way("python", "gil", like=negative)
def sort_with_key():
    sorted(range(sizes["sort_with_key"]), key=negative)


@way("python")
def string_building():
    text, n = "", sizes["string_building"]
    for number in range(n):  # here
        text += str(number)  # here


@way("python", "collector", advised="")
def classes():
    goes_on = lasting()
    while goes_on():
        type("Some", (), {})  # here type


@way("python", "gil")
def json_with_indent():
    json.dumps(seen["data"][: sizes["json_with_indent"]], indent=1)  # here json.dumps


def upper(found):
    return found.group().upper() + found.group().lower()[:0]  # here


@way("python", "gil", like=upper)
def sub_with_callback():
    re.sub(r"\w", upper, "a" * sizes["sub_with_callback"])


@way("python", "collector", advised="")
def deepcopy():
    copy.deepcopy(seen["data"][: sizes["deepcopy"]])  # here copy.deepcopy


class Reduced:
    def __reduce__(self):
        return (Reduced, (), {"some": str(id(self))})  # here


@way("python", "gil", like=Reduced.__reduce__)
def pickle_with_reduce():
    pickle.dumps([Reduced() for _ in range(sizes["pickle_with_reduce"])])


@way("python")
def difference():
    n = sizes["difference"]
    difflib.SequenceMatcher(None, "ab" * n, "ba" * n).ratio()  # here


@way("python", "gil")
def wrap():
    textwrap.wrap("some words " * sizes["wrap"])  # here textwrap.wrap


@way("python")
def exceptions():
    goes_on = lasting()
    while goes_on():  # here
        try:
            raise ValueError  # here
        except ValueError:  # here
            pass


@way("python")
def many_short_c_calls():
    goes_on, text = lasting(), "a" * 20_000
    while goes_on():
        text.count("b")  # here text.count


# ---- in C code that has the GIL


@way("gil")
def regular_expression():
    re.match(r"(a+)+$", seen["backtracking"])  # here re.match


@way("gil")
def sort():
    sorted(seen["floats"])  # here sorted


@way("gil")
def power():
    3 ** sizes["power"]  # here


@way("gil")
def multiplication():
    a = seen["large"]
    b = a * a  # here a * a
    seen["product"] = b
    seen["length"] = len("abc")


@way("gil")
def number_to_text():
    str(seen["decimal"])  # here str


@way("gil")
def format_number():
    return f"{seen['decimal']}"  # here


@way("gil")
def json_loads():
    json.loads(seen["json"])  # here json.loads


@way("gil")
def json_dumps():
    json.dumps(seen["parsed"])  # here json.dumps


@way("gil", "python")
def contains():
    o = object()
    for _ in range(sizes["contains"]):
        assert o not in numbers  # here


@way("gil")
def join():
    ",".join(seen["words"])  # here


@way("gil")
def sum_of_range():
    sum(range(sizes["sum_of_range"]))  # here sum


@way("gil")
def largest():
    max(seen["floats"], key=abs)  # here max


@way("gil", "python")
def copy_of_dict():
    for _ in range(sizes["copies"]):
        dict(seen["dict"])  # here dict


@way("gil")
def set_of_floats():
    set(seen["floats"] * 2)  # here set


@way("gil")
def hold():
    usleep(int(TIME[0] * 1e6))  # here usleep


@way("gil")
def compile_source():
    compile(seen["source"], "some", "exec")  # here compile


@way("gil")
def find_all():
    re.findall("a|b|c", seen["abc"])  # here re.findall


@way("gil")
def count_all():
    collections.Counter(seen["abc"])  # here collections.Counter


@way("gil")
def unpickle():
    pickle.loads(seen["pickle"])  # here pickle.loads


@way("gil")
def replace():
    seen["abc"].replace("a", "xyz").replace("b", "xyz").count("nobody")  # here


# ---- in C code that lets go of it


@way("native")
def pbkdf2():
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", sizes["pbkdf2"])  # here hashlib.pbkdf2_hmac


@way("native")
def scrypt():
    n = 2 ** sizes["scrypt"]
    hashlib.scrypt(b"x", salt=b"y", n=n, r=8, p=1, maxmem=1 << 30)  # here hashlib.scrypt


@way("native")
def compress():
    zlib.compress(seen["noise"][: sizes["compress"]], 9)  # here zlib.compress


@way("native")
def compress_bz2():
    bz2.compress(seen["noise"][: sizes["compress_bz2"]])  # here bz2.compress


@way("native")
def compress_lzma():
    lzma.compress(seen["noise"][: sizes["compress_lzma"]])  # here lzma.compress


@way("native")
def digest():
    hashlib.sha256(seen["much"]).digest()  # here hashlib.sha256


# ---- garbage


@way("collector")
def collect():
    gc.collect()  # here gc.collect


@way("collector")
def collect_by_itself():
    gc.set_threshold(100, 1, 1)
    made = []
    while len(made) < sizes["collect_by_itself"]:
        made.append([])  # here
    gc.set_threshold(1000, 10, 10)


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
    module("counts", f"import time\nend = time.monotonic() + {TIME[0]}\nwhile time.monotonic() < end: pass\n")
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
    time.sleep(0.03)
    thread.join()


def match_elsewhere():
    time.sleep(0.02)
    re.match(r"(a+)+$", seen["backtracking"])  # here


@way("thread", like=match_elsewhere)
async def thief_with_regular_expression():
    thread = threading.Thread(target=match_elsewhere, name="thief")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.002)


# ---- many steps


def step():
    end = time.monotonic() + TIME[0] / 60
    while time.monotonic() < end:  # here
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
    end = time.monotonic() + TIME[0] / 60
    while time.monotonic() < end:  # here
        pass


@way("steps", like=step_of_task)
async def tasks():
    await asyncio.gather(*(step_of_task() for _ in range(60)))


# ---- two lines


@way("sleep", "gil", advised="")
def short_and_long():
    time.sleep(TIME[0] * 0.3)
    usleep(int(TIME[0] * 1.2e6))  # here usleep


@way("sleep")
def long_and_short():
    time.sleep(TIME[0])  # here time.sleep
    end = time.monotonic() + TIME[0] * 0.2
    while time.monotonic() < end:
        pass


sizes = {}


def prepare():
    """Makes what some ways need, as large as it takes here."""

    def square(n):
        return [number * number % 7 for number in range(n)]

    def strings(n):
        text = ""
        for number in range(n):
            text += str(number)

    def similar(n):
        return difflib.SequenceMatcher(None, "ab" * n, "ba" * n).ratio()

    sizes["for_loop"] = times(sum_of_squares, 10_000)
    sizes["comprehension"] = times(square, 10_000)
    sizes["generator"] = times(lambda n: sum(number * number % 7 for number in range(n)), 10_000)
    sizes["sort_with_key"] = times(lambda n: sorted(range(n), key=negative), 10_000)
    sizes["string_building"] = times(strings, 10_000)
    sizes["sub_with_callback"] = times(lambda n: re.sub(r"\w", upper, "a" * n), 10_000)
    sizes["pickle_with_reduce"] = times(lambda n: pickle.dumps([Reduced() for _ in range(n)]), 1000)
    sizes["wrap"] = times(lambda n: textwrap.wrap("some words " * n), 100)
    size, took = 100, 0.0
    while took < TIME[0] / 3:
        begun = time.perf_counter()
        similar(size := size + size // 2)
        took = time.perf_counter() - begun
    sizes["difference"] = int(size * (TIME[0] / took) ** 0.5 * 1.2)  # it takes four times as long for twice as much

    some = [{"id": number, "v": [number, number + 0.5], "name": "some"} for number in range(30_000)]
    as_much = times(lambda n: json.dumps(some[:n], indent=1), 250)
    for_copy = times(lambda n: copy.deepcopy(some[:n]), 250)
    data = [{"id": number, "v": [number, number + 0.5], "name": "some"} for number in range(max(as_much, for_copy))]
    seen["data"], sizes["json_with_indent"], sizes["deepcopy"] = data, as_much, for_copy

    text, took = "a" * 16, 0.0
    while took < TIME[0] * 0.9:
        text += "a"
        begun = time.perf_counter()
        re.match(r"(a+)+$", text + "b")
        took = time.perf_counter() - begun
    seen["backtracking"] = text + "b"

    more = times(lambda n: sorted(numbers[:n]), 20_000)
    seen["floats"] = [random.random() for _ in range(more)]
    for name, work in (
        ("power", lambda n: 3**n),
        ("decimal", lambda n: str(seen["power"] >> (int(n * 0)))),
    ):
        if name == "power":
            n, took = 100_000, 0.0
            while took < TIME[0] * 0.9:
                begun = time.perf_counter()
                n = n * 5 // 4
                value = work(n)
                took = time.perf_counter() - begun
            sizes["power"], seen["power"] = n, value
    value, took = 3**100_000, 0.0
    while took < TIME[0] * 0.9:
        value = value * value >> value.bit_length() * 2 // 3
        begun = time.perf_counter()
        product = value * value
        took = time.perf_counter() - begun
    seen["large"], seen["product"] = value, product
    value, took = 3**10_000, 0.0
    while took < TIME[0] * 0.9:
        value = value * value >> value.bit_length() * 2 // 3
        begun = time.perf_counter()
        str(value)
        took = time.perf_counter() - begun
    seen["decimal"] = value
    row = '{"id": 1, "v": [1, 1.5], "name": "some"}'
    seen["json"] = "[" + ",".join([row] * times(lambda n: json.loads("[" + ",".join([row] * n) + "]"), 1000)) + "]"
    parsed = json.loads("[" + ",".join([row] * 1000) + "]")
    seen["parsed"] = parsed * (times(lambda n: json.dumps(parsed * n), 1))
    sizes["contains"] = times(lambda n: [object() in numbers for _ in range(n)])
    words = [str(number) for number in range(1000)]
    seen["words"] = words * times(lambda n: ",".join(words * n), 10)
    sizes["sum_of_range"] = times(lambda n: sum(range(n)), 100_000)
    seen["dict"] = dict.fromkeys(range(2_000_000))
    sizes["copies"] = min(times(lambda n: [dict(seen["dict"]) and None for _ in range(n)]), 40)
    line = "x = [y + 1 for y in range(7)]\n"
    seen["source"] = line * times(lambda n: compile(line * n, "some", "exec"), 100)
    seen["abc"] = "abcd" * times(lambda n: re.findall("a|b|c", "abcd" * n), 1000)
    seen["pickle"] = pickle.dumps(
        [
            float(number)
            for number in range(
                times(lambda n: pickle.loads(pickle.dumps([float(number) for number in range(n)])), 10_000) * 3
            )
        ]
    )
    sizes["pbkdf2"] = times(lambda n: hashlib.pbkdf2_hmac("sha256", b"x", b"y", n), 1000)
    power, took = 10, 0.0
    while took < TIME[0] * 0.7:
        power += 1
        begun = time.perf_counter()
        hashlib.scrypt(b"x", salt=b"y", n=2**power, r=8, p=1, maxmem=1 << 30)
        took = time.perf_counter() - begun
    sizes["scrypt"] = power
    noise = bytes(random.choices(b"abcdefgh", k=100_000))
    for name, work in (
        ("compress", lambda d: zlib.compress(d, 9)),
        ("compress_bz2", bz2.compress),
        ("compress_lzma", lzma.compress),
    ):
        sizes[name] = 100_000 * times(lambda n, work=work: work(noise * n))
    seen["noise"] = noise * (max(sizes[name] for name in ("compress", "compress_bz2", "compress_lzma")) // 100_000 + 1)
    seen["much"] = bytes(times(lambda n: hashlib.sha256(bytes(n)), 1_000_000))
    kept = [[[]] for _ in range(200_000)]
    begun = time.perf_counter()
    gc.collect()
    took = time.perf_counter() - begun
    seen["kept"] = kept + [[[]] for _ in range(min(int(200_000 * TIME[0] * 1.2 / took), 4_000_000))]
    gc.collect()
    sizes["collect_by_itself"] = len(seen["kept"])
