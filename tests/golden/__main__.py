"""Write golden outcomes anew: `python -m tests.golden [scripted] [priced] [nano] [nano-priced]`.

Only where a change is meant, and each change is named in tests/golden/README.md.
"""

import sys

from tests.golden import nano, scripted, store


def main() -> None:
    wanted = sys.argv[1:] or ["scripted", "nano", "priced", "nano-priced"]
    if "scripted" in wanted:
        every = [store.as_kept(scripted.judge_case(number)) for number in range(scripted.N)]
        store.write("scripted", every)
    if "priced" in wanted:
        some = [store.as_told(scripted.judge_priced(number)) for number in range(scripted.N_PRICED)]
        store.write("priced", some)
    engine = nano.open_nano()
    if "nano" in wanted:
        told = nano.judge_all(engine, nano.N, nano.version_1())
        store.write("nano", [store.as_kept(one) for one in told])
    if "nano-priced" in wanted:
        told = nano.judge_all(engine, nano.N_PRICED, nano.shipped())
        store.write("nano-priced", [store.as_told(one) for one in told])
    engine.close()


main()
