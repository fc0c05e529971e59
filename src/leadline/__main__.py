"""`python -m leadline` is `leadline`: how workers and sweeps start it, whatever is on the path."""

from leadline.cli import main

if __name__ == "__main__":
    main()
