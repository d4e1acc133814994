"""Programs to read and to run, each alone; `orchestrator` and `demo` by `python -m`."""
