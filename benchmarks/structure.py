"""How long the package's functions and modules are, and how many modules a folder holds.

    python benchmarks/structure.py [FOLDER]        # of another checkout's root

A function's lines run from its `def` to its last line, docstring included.
"""

import ast
import sys
from collections import Counter
from pathlib import Path

import numpy as np

ROOMS = ("cache", "cli", "dataset", "evaluate", "extract", "train")


def modules(root: Path) -> list[Path]:
    return sorted([*root.glob("*.py"), *(p for room in ROOMS for p in (root / room).rglob("*.py"))])


def functions(path: Path) -> list[tuple[int, str]]:
    found = [
        (node.end_lineno - node.lineno + 1, node.name)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    return sorted(found, reverse=True)


def summary(name: str, values: list[int]) -> str:
    median, p90 = np.percentile(values, [50, 90])
    return f"{name}: {len(values)}, median {median:.0f}, p90 {p90:.0f}, most {max(values)}"


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    paths = modules(root)
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in paths}
    lengths = {path: functions(path) for path in paths}
    print(summary("lines a function", [n for found in lengths.values() for n, _ in found]))
    print(summary("lines a module", list(lines.values())))
    folders = Counter(path.parent for path in paths if path.stem != "__init__")
    print(summary("modules a folder", list(folders.values())))
    for path, found in lengths.items():
        for length, name in found:
            if length > 80:
                print(f"over 80 lines: {path.relative_to(root)} {name}: {length}")
    for path, count in lines.items():
        if count > 300:
            print(f"over 300 lines: {path.relative_to(root)}: {count}")


if __name__ == "__main__":
    main()
