"""``python -m graphnas``."""

from graphnas.cli.main import main

if __name__ == "__main__":
    main()
