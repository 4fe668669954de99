"""`python -m components.training RUN.json`: one run in this process. `launch` starts it so."""

import sys
from pathlib import Path

from components.training.stopping import UNTIL_STDIN_CLOSES


def main(arguments: list[str]) -> int:
    from components.training.run import main as run

    names = [argument for argument in arguments if argument != UNTIL_STDIN_CLOSES]
    if len(names) != 1 or not Path(names[0]).is_file():
        print(f"Usage: python -m components.training RUN.json [{UNTIL_STDIN_CLOSES}]", file=sys.stderr)
        return 2
    return int(run(Path(names[0]), until_stdin_closes=UNTIL_STDIN_CLOSES in arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
