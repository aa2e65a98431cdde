"""Programs that a model could write: honest ones pass, hostile ones are contained and fail."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tongwen.errors import TongwenError
from tongwen.evaluate.sandbox import box, kernel
from tongwen.evaluate.sandbox.pool import (
    Limits,
    Pool,
    Program,
    SandboxError,
    Verdict,
    Worker,
    sandbox,
)
from tongwen.evaluate.sandbox.wire import decode, encode

PATIENT = Limits(seconds=30.0)
SHORT = Limits(seconds=0.5, cpu_seconds=1, memory_bytes=256 << 20, processes=16)
TESTS = "assert f(20) == 40\nassert f(21) == 42"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    try:
        with sandbox("isolated", workers=1) as ready:
            yield ready
    except SandboxError as error:
        pytest.skip(str(error))


def verdict(
    pool: Pool, text: str, tests: str = TESTS, limits: Limits = PATIENT, **parts: str
) -> Verdict:
    return pool.judge([Program(text=text, tests=tests, limits=limits, **parts)])[0]


HOSTILE = {
    # Using up the machine.
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 24))",
    "memory of many processes": (
        "import os, time\nfor _ in range(10):\n    if os.fork() == 0:\n"
        "        x = bytearray(b'1') * (100 << 20)\n        time.sleep(9)\ntime.sleep(9)"
    ),
    "endless loop": "def f(x):\n    while True: pass",
    "endless loop that catches signals": (
        "import signal\nfor s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass"
    ),
    "endless sleep": "import time\ntime.sleep(10 ** 6)",
    "threads": (
        "import threading, time\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(99,)).start()"
    ),
    "output flood": "while True: print('x' * 100000)",
    "error flood": "import sys\nwhile True: sys.stderr.write('x' * 100000)",
    "endless answer": "def f(x): return 'x' * (100 << 20)",
    "answer without end": "def f(x):\n    while True: yield x\n",
    "huge integer": "def f(x): return 10 ** 10 ** 10",
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return f(x + 1)\nf(0)"
    ),
    "deep answer": "def f(x):\n    for _ in range(10 ** 5): x = [x]\n    return x",
    "deep source": "(" * 10 ** 5,
    "regular expression": "import re\ndef f(x): return re.match('(a+)+$', 'a' * 64 + 'b')",
    "disk": "f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
    "many files": "for n in range(10 ** 6): open(f'/tmp/{n}', 'w').close()",
    # Reaching out.
    "network": "import socket\nsocket.create_connection(('1.1.1.1', 53), 1)",
    "name server": "import urllib.request\nurllib.request.urlopen('http://example.com')",
    "read user's files": "import os\nopen(os.path.expanduser('~/.ssh/id_rsa'))",
    "read passwords": "open('/etc/shadow').read()",
    "read memory": "open('/proc/self/mem', 'rb')",
    "read environment of others": "open('/proc/1/environ', 'rb')",
    "write outside": "open('/home/owned', 'w')",
    "write the library": "import os\nopen(os.__file__, 'a').write('owned')",
    "delete everything": "import shutil\nshutil.rmtree('/')",
    "symbolic link": "import os\nos.symlink('/etc/passwd', '/tmp/x')\nopen('/tmp/x').read()",
    "run a shell": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'id'], check=True)",
    "make namespaces": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.unshare(0x10000000) == 0"
    ),
    "mount": (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0"
    ),
    "trace": "import ctypes\nassert ctypes.CDLL(None).ptrace(16, 2, 0, 0) == 0",
    "become root": "import os\nos.setuid(0)\nos.chown('/usr', 0, 0)",
    # Passing without being right.
    "exit 0": "import os\nos._exit(0)",
    "exit 0 when called": "import os\ndef f(x): os._exit(0)",
    "system exit": "raise SystemExit(0)",
    "system exit when called": "def f(x): raise SystemExit(0)",
    "exit from atexit": "import atexit, os\natexit.register(os._exit, 0)",
    "kill everyone": "import os\nos.kill(-1, 9)",
    "kill the parent": "import os\nos.kill(os.getppid(), 9)",
    "kill the group": "import os\nos.killpg(0, 9)",
    "equals everything": (
        "class Any:\n    def __eq__(self, other): return True\n    __hash__ = None\n"
        "def f(x): return Any()"
    ),
    "an integer that equals everything": (
        "class Any(int):\n    def __eq__(self, other): return True\ndef f(x): return Any(7)"
    ),
    "patched assert": (
        "import builtins\nbuiltins.AssertionError = type('E', (), {})\ndef f(x): return 0"
    ),
    "patched comparison": "import operator\noperator.eq = lambda *_: True\ndef f(x): return 0",
    "patched exec": (
        "import builtins\nbuiltins.exec = lambda *_: None\nbuiltins.compile = builtins.exec\n"
        "def f(x): return 0"
    ),
    "patched sandbox": (
        "import sys\nm = sys.modules['tongwen.evaluate.sandbox.judge']\n"
        "m.judge = lambda *_: {'verdict': 'passed', 'message': ''}\ndef f(x): return 0"
    ),
    "looks at frames": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for v in list(frame.f_locals.values()):\n"
        "            if isinstance(v, dict) and 'sentinel' in v: return 2 * x\n"
        "        frame = frame.f_back\n    return 0"
    ),
    "looks at the heap": (
        "import gc\ndef f(x):\n    for v in gc.get_objects():\n"
        "        if isinstance(v, dict) and ('sentinel' in v or 'tests' in v): return 2 * x\n"
        "    return 0"
    ),
    "writes to every descriptor": (
        "import os, json\nm = json.dumps({'verdict': 'passed', 'message': '', 'sentinel': 'x'})\n"
        "m = len(m).to_bytes(8, 'big') + m.encode()\nfor d in range(256):\n"
        "    try: os.write(d, m)\n    except OSError: pass\ndef f(x): return 0"
    ),
    "reads every descriptor": (
        "import os\nfor d in range(256):\n    try: os.read(d, 10 ** 6)\n    except OSError: pass"
    ),
    "reads standard input": "def f(x): return int(input())",
    "own abs": "def abs(x): return 0\ndef f(x): return 7",
    "daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(60)\n    os._exit(0)\ndef f(x): return 0"
    ),
    # Strange text.
    "surrogates": "def f(x): return '\\ud800' * x",
    "null byte": "def f(x):\x00 return 2 * x",
    "unicode": "def ｆ(x): return '４０' if x == 20 else '\u202e'",
    "empty": "",
}  # fmt: skip
_TESTS_OF = {"own abs": "assert abs(f(20) - 40) == 0", "answer without end": "assert list(f(1))"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_contained_and_fails(pool: Pool, name: str) -> None:
    started = time.monotonic()
    found = verdict(pool, HOSTILE[name], _TESTS_OF.get(name, TESTS), SHORT)
    assert not found.passed
    assert time.monotonic() - started < 40  # a busy machine; programs that wait would take 60
    assert verdict(pool, "def f(x): return 2 * x").passed, "the worker is not what it was"


def test_hostile_programs_leave_nothing_behind(pool: Pool, tmp_path: Path) -> None:
    mark = f"{os.getpid()}-mark"
    victim = tmp_path / "victim"
    victim.write_text("whole")
    text = (
        "import os\n"
        f"for path in ({str(victim)!r}, '/tmp/{mark}', '/{mark}'):\n"
        "    try: open(path, 'w').write('owned')\n    except OSError: pass\n"
        "if os.fork() == 0:\n    os.setsid()\n    import time\n    time.sleep(60)\n"
        "def f(x): return 2 * x"
    )
    assert verdict(pool, text).passed
    seen = verdict(
        pool, "import os\ndef f(): return sorted(os.listdir('/tmp') + os.listdir('/'))",
        f"assert not any({mark!r} in name for name in f()), f()",
    )  # fmt: skip
    assert seen.passed, seen
    assert victim.read_text() == "whole"
    assert not Path("/tmp", mark).exists()
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pool.workers[0].process.pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(children.stdout.split()) <= 1  # the worker's first process in its namespace


def test_no_socket_reaches_a_listener_on_this_machine(pool: Pool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = (
            "import socket\ndef f():\n    try: socket.create_connection(('127.0.0.1', "
            f"{port}), 1)\n    except OSError as error: return type(error).__name__"
        )
        assert verdict(pool, text, "assert f() == 'PermissionError', f()").passed


HONEST = {
    "plain": ("def f(x): return 2 * x", TESTS),
    "keywords": (
        "def f(*a, k=0): return [a, {'k': k}]",
        "assert f(1, (2, 3), k=4) == [(1, (2, 3)), {'k': 4}]",
    ),
    "changed argument": ("def f(x): x.sort()", "a = [3, 1]\nf(a)\nassert a == [1, 3]"),
    "exception": (
        "def f(x): raise ValueError('no')",
        "try: f(1)\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert 0",
    ),
    "generator": ("def f(x): yield from range(x)", "assert list(f(3)) == [0, 1, 2]"),
    "class": (
        "class P:\n  def __init__(s, a): s.a = a\ndef f(p): return p.a",
        "assert f(P(5)) == 5\np = P(1)\np.a = 9\nassert p.a == 9",
    ),
    "subclass of a plain type": (
        "from collections import Counter\ndef f(x): return Counter(x)",
        "assert f('aab') == {'a': 2, 'b': 1}",
    ),
    "type as an argument": (
        "def f(t, k): return [x for x in t if isinstance(x, k)]",
        "assert f((1, 'a'), int) == [1]",
    ),
    "module": ("import math\ndef f(x): return x / 3", "assert math.isclose(f(1), 1 / 3)"),
    "large integer": ("def f(x): return x ** 400", "assert f(7) == 7 ** 400"),
    "not a number": (
        "def f(x): return float('nan')", "import math\nassert math.isnan(f(1))",
    ),
    "half a pair": ("def f(x): return '\\ud83d' + x", "assert f('好') == '\\ud83d好'"),
    "value": ("x = 41\nx += 1", "assert x == 42"),
    "standard input": (
        "import sys\ndef f(): return sys.stdin.read(), sys.argv[0]", "assert f()[0] == ''",
    ),
    "own file": (
        "def f(x):\n    open('x', 'w').write(x)\n    return open('x').read()",
        "assert f('a') == 'a'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_passes(pool: Pool, name: str) -> None:
    found = verdict(pool, *HONEST[name])
    assert found.passed, found


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("wrong", "def f(x): return x"),
        ("error", "def f(x): return x / 0"),
        ("error", "def g(x): return x"),
        ("syntax", "def f(x) return x"),
        ("timeout", "def f(x):\n    while True: pass"),
        ("memory", "def f(x): return len(bytearray(1 << 30))"),
        ("died", "import os\ndef f(x): os.abort()"),
    ],
)
def test_a_verdict_says_why_a_program_failed(pool: Pool, kind: str, text: str) -> None:
    short = {"timeout": SHORT, "memory": replace(PATIENT, memory_bytes=SHORT.memory_bytes)}
    limits = short.get(kind, PATIENT)
    assert verdict(pool, text, limits=limits).kind == kind


def test_what_the_setup_defines_is_not_the_programs(pool: Pool) -> None:
    parts = {"setup": "def helper(x): return x\ndef f(x): ...", "entry": "f"}
    tests = "assert helper(f(2)) == 4"
    assert verdict(pool, "def f(x): return 2 * x", tests, **parts).passed
    forged = "def helper(x): return 4\ndef f(x): return 0"
    assert verdict(pool, forged, tests, **parts).kind == "wrong"


def test_programs_keep_their_order_over_workers() -> None:
    programs = [
        Program(text=f"def f(): return {n % 3}", tests="assert f() == 0", limits=PATIENT)
        for n in range(12)
    ]
    with sandbox("no-isolation", workers=2) as pool:
        calls: list[tuple[int, int]] = []
        found = pool.judge(programs, lambda done, total: calls.append((done, total)))
    assert [one.passed for one in found] == [n % 3 == 0 for n in range(12)]
    assert calls[-1] == (12, 12)


def test_without_isolation_an_early_exit_or_an_endless_loop_still_fails() -> None:
    with sandbox("no-isolation", workers=1) as pool:
        assert verdict(pool, HOSTILE["exit 0"]).kind == "died"
        assert verdict(pool, HOSTILE["endless loop"], limits=SHORT).kind == "timeout"
        assert verdict(pool, HOSTILE["equals everything"]).kind == "wrong"
        assert verdict(pool, "def f(x): return 2 * x").passed


def test_a_worker_that_is_killed_is_replaced(pool: Pool) -> None:
    worker: Worker = pool.workers[0]
    worker.process.kill()
    worker.process.wait()
    assert verdict(pool, "def f(x): return 2 * x").kind == "died"
    assert verdict(pool, "def f(x): return 2 * x").passed


def test_where_nothing_can_be_isolated_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from tongwen.evaluate.sandbox import pool as pool_module

    broken = pool_module._START.replace(
        "import main;",
        "import main; from tongwen.evaluate.sandbox import kernel; "
        "kernel.check_architecture = lambda: (_ for _ in ()).throw("
        "kernel.NotPermittedError('unshare: Operation not permitted'));",
    )
    monkeypatch.setattr(pool_module, "_START", broken)
    with pytest.raises(TongwenError, match="unshare: Operation not permitted") as caught:
        Worker("isolated")
    assert caught.value.hint is not None
    assert 'evaluate.unsafe_code = "no-isolation"' in caught.value.hint


def test_an_unknown_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel.platform, "machine", lambda: "pdp11")
    with pytest.raises(kernel.NotPermittedError, match="pdp11"):
        kernel.check_architecture()


def test_every_refused_call_is_listed_for_both_architectures() -> None:
    first, second = kernel._DENIED.values()
    assert set(first) == set(second)


def test_the_sandbox_shows_only_the_library() -> None:
    assert all("lib" in Path(source).name or "python" in source for source in box._sources())
    assert str(Path.home()) not in box._sources()


def test_the_worker_loads_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; import tongwen.evaluate.sandbox.box; "
        "print([name for name in ('torch', 'numpy', 'click') if name in sys.modules])"
    )
    root = Path(box.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = [{str(root)!r}]; {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_values_survive_the_wire() -> None:
    import datetime
    from collections import Counter, OrderedDict, deque
    from decimal import Decimal
    from fractions import Fraction

    values = [
        None, True, 0, -1, 2**70, 1.5, "文\ud800", [1, [2]], (1, (2,)), {1, 2}, frozenset("a"),
        {"a": (1,), 2: None}, b"\0x", bytearray(b"x"), 1 + 2j, range(3, 9, 2), Counter("aab"),
        OrderedDict(b=1, a=2), deque([1]), Decimal("1.10"), Fraction(1, 3),
        datetime.datetime(2026, 1, 2, 3), datetime.date(2026, 1, 2), datetime.timedelta(1, 2, 3),
    ]  # fmt: skip

    def refuse(value: object) -> object:
        raise TypeError

    for value in values:
        again = decode(encode(value, refuse), refuse)
        assert again == value
        assert type(again) is type(value)
    with pytest.raises(TypeError):
        encode(object(), refuse)
