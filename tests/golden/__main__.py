"""Write the golden outcomes anew: `python -m tests.golden [scripted] [nano]`.

Only where a change is meant, and each change is named in tests/golden/README.md.
"""

import sys

from tests.golden import kept, nano, scripted


def main() -> None:
    wanted = sys.argv[1:] or ["scripted", "nano"]
    if "scripted" in wanted:
        kept.write("scripted", [scripted.judge_case(number) for number in range(scripted.N)])
    if "nano" in wanted:
        engine = nano.open_nano()
        outcomes = []
        for number in range(nano.N):
            outcomes.append(nano.judge_one_by_one(engine, number))
            if (number + 1) % 100 == 0:
                print(f"{number + 1} of {nano.N}", file=sys.stderr)
        engine.close()
        kept.write("nano", outcomes)


main()
