"""How long `finevq --help` takes, against `python -c "import numpy"`, in turn in one run.

.venv/bin/python benchmarks/startup.py
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 21


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    finevq = str(Path(sys.executable).with_name("finevq"))
    ratios = []
    for _ in range(ROUNDS + 1):
        help_time = seconds([finevq, "--help"])
        numpy_time = seconds([sys.executable, "-c", "import numpy"])
        ratios.append(help_time / numpy_time)
    ratios = ratios[1:]  # the first round fills the page cache
    result = {
        "help_over_import_numpy": {
            "median": statistics.median(ratios),
            "min": min(ratios),
            "max": max(ratios),
        }
    }
    text = json.dumps(result, indent=2)
    Path(__file__).with_name("results").joinpath("startup.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
