"""A packaged model in a process of its own: one JSON request per line in, one JSON answer per line out.

`python -m components.registry.child ARTIFACTS`, started in the package's code folder. The first line out is
`{"ready": true}`; an answer is `{"rows": [...]}` or `{"error": "..."}`, behind any number of `{"piece": "..."}` where the request
says `"streams": true`. It ends with its input.
"""

import json
import os
import sys
from pathlib import Path
from typing import IO

from components.errors import UserError
from components.registry.runtime import Runtime


def main() -> None:
    # What a library prints must not get between the answers: they have the old standard output for themselves.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        runtime = Runtime.open(Path(sys.argv[1]))
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            _put(answers, _answer(runtime, line, answers))


def _answer(runtime: Runtime, line: str, answers: IO[str]) -> dict[str, object]:
    request = json.loads(line)
    on_text = (lambda piece: _put(answers, {"piece": piece})) if request.get("streams") else None
    try:
        return {"rows": runtime.predict(request["rows"], request["params"], on_text)}
    except UserError as error:
        return {"error": str(error)}


def _put(answers: IO[str], answer: dict[str, object]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
