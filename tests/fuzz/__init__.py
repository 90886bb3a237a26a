"""Fuzzing by coverage: what runs each target, and what was found worth keeping.

`make fuzz` runs `python -m tests.fuzz TARGET SECONDS` with atheris; the kept inputs in `corpus/` are replayed by
`tests/unit/test_fuzz_corpus.py` without it.
"""
