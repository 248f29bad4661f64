"""`python -m sepconv_bench` is `sepconv-bench`."""

from sepconv_bench.cli import main

if __name__ == "__main__":
    main()
