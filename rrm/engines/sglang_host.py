"""The process that holds a private SGLang server: `python -m rrm.engines.sglang_host`.

The first line of standard input is a JSON list of arguments for SGLang's own launcher, so that the
server's key stands in no process table. When standard input ends, the process that asked for the
server is gone, and this one goes with its whole group, the schedulers and their memory included.
"""

import json
import os
import signal
import sys
import threading


def main() -> None:
    """Read the arguments, and run the server until the caller is gone."""
    arguments = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_caller, daemon=True).start()
    from sglang.launch_server import run_server
    from sglang.srt.server_args import prepare_server_args

    run_server(prepare_server_args(arguments))


def _leave_with_the_caller() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":  # SGLang's own children import this module again
    main()
