"""Write `constraints.txt` anew: what pip finds today for everything that the tests install.

A line that ends in `# held: WHY` stays as it is. Called by `make lock`, in the virtual environment.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = ROOT / "constraints.txt"
SGLANG = ROOT / "serving" / "testing" / "sglang_cpu" / "requirements.txt"


def main() -> None:
    held = [line for line in FILE.read_text().splitlines() if "# held" in line]
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder) / "held.txt", Path(folder) / "report.json"
        constraints.write_text("\n".join(held) + "\n")
        pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-qq"]
        wanted = ["--constraint", str(constraints), "-e", f"{ROOT}[dev]", "-r", str(SGLANG)]
        subprocess.run([*pip, "--report", str(report), *wanted], check=True)
        found = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    pins = dict(line.split("==", 1) for line in held)
    for one in found:
        name = re.sub(r"[-_.]+", "-", one["name"]).lower()
        if name not in {"closecall", *pins}:
            pins[name] = one["version"].partition("+")[0]
    lines = [f"{name}=={pins[name]}" for name in sorted(pins)]
    FILE.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"{len(lines)} pins in {FILE.name}\n")


main()
