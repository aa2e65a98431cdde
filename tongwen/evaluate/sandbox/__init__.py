"""Generated programs, run apart from the machine and judged apart from themselves.

Three processes, none of which shares memory with another once the program runs:

- the pool (`pool.py`), in the evaluator's process: draws a random sentinel for each program;
- the judge (`judge.py`): holds the tests and the sentinel, and calls the program's functions;
- the candidate (`candidate.py`): runs the program, in namespaces of its own.

Only plain values cross between judge and candidate (`wire.py`). Equality and truth are decided by
the judge, on values it built itself, so an object that equals everything, a patched `assert`, a
scan of the process's memory or an early exit gains nothing: the candidate never had the sentinel.
"""
