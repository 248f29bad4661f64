"""`sepconv-bench`, and `python -m sepconv_bench`, which is the same."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it in one line even while it is still being loaded."""
    try:
        from sepconv_bench.cli import main as door

        door()
    except KeyboardInterrupt:
        print("sepconv-bench: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
