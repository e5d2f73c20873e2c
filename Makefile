# make demo: install, run six methods on the bundled dataset, and print the leaderboard. make test: install and test.
# No other setup is needed; PYTHON selects the interpreter (3.11 or later).

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test slow smoke lint types pins clean

demo: $(READY)
	$(BIN)/bench sweep demo --jobs 2 --results runs/demo/results --runs runs/demo
	$(BIN)/bench report --results runs/demo/results --runs runs/demo --out runs/demo/report

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m "not slow"

slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

smoke: $(READY)
	$(BIN)/python tests/smoke.py

lint: $(READY) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	mkdir -p .venv/types && ln -sfn ../.. .venv/types/ltbench
	cd .venv/types && ../bin/mypy --config-file ../../pyproject.toml -m ltbench.bench \
		-p ltbench.benchmarks -p ltbench.datasets -p ltbench.methods -p ltbench.report

pins: $(READY)
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade -q -o .venv/pins.txt
	(head -1 constraints.txt; cat .venv/pins.txt) > .venv/constraints.txt && mv .venv/constraints.txt constraints.txt

# The marker is touched last, so that an interrupted installation is repeated.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info runs/demo
