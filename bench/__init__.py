"""Benchmarks: one command each (`make bench-NAME`), real parts, figures as JSON on the last line.

Sizes and durations are options; what a change was expected to do and did is kept in docs/performance.md.
"""
