"""Run every benchmark of this folder, or those named; exit 1 if one misses its bar."""

import importlib
import pkgutil
import sys

import benchmarks


def main(names: list[str]) -> int:
    """Run `main()` of each module, in the order of their names."""
    known = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    unknown = sorted(set(names) - set(known))
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\n    python -m benchmarks [NAME …]\n\nNames: {', '.join(known)}")
        return 0
    if unknown:
        print(f"no benchmark {unknown}; there are {known}")
        return 2
    missed = []
    for name in names or known:
        print(f"== {name}", flush=True)
        try:
            importlib.import_module(f"benchmarks.{name}").main()
        except AssertionError as bar:
            print(f"MISSED: {bar}")
            missed.append(name)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
