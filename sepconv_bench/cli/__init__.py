"""The door: `sepconv-bench`, a file a command. Nothing heavy is imported before a command needs it."""

from sepconv_bench.cli.program import main

__all__ = ["main"]
