"""``python -m voxray``."""

from voxray.cli.app import main

if __name__ == "__main__":
    main()
