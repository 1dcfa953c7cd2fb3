"""Reads one expression a line from standard input and answers each."""

import signal
import sys

from calculator.expression import ExpressionError, evaluate


def main() -> int:
    # Asked to stop, it stops, also as process 1, for which signals do nothing unless they are caught.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A column is a byte, and no byte is refused.
    sys.stdin.reconfigure(encoding="latin-1", newline="\n")
    print('Calculator: type an expression, or "exit".')
    ended = False
    while not ended:
        print("> ", end="", flush=True)
        line = sys.stdin.readline()
        ended = not line.endswith("\n")
        line = line.rstrip("\r\n")
        if line in ("exit", "quit"):
            return 0
        if line:
            print(_answer(line))
    print()
    return 0


def _answer(line: str) -> str:
    try:
        return evaluate(line)
    except ExpressionError as error:
        return f"error: {error}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        sys.exit(f"calculator: {error}")
