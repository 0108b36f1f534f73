# Everything installs itself into .venv; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
OUT := results/demo
DEVICE := cuda
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-slow coverage gpu lint bench docs docs-serve clean

demo: .venv/installed
	$(BIN)/chronograd sweep nadamw adamw nesterov schedule_free_adamw \
		--suite demo --ruleset demo --out $(OUT)
	$(BIN)/chronograd score $(OUT) --html $(OUT)/leaderboard.html

# Three processes for two cores: tests of clusters wait a lot. Files in alphabetical order: the long ones come first.
test: .venv/dev-installed
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 3 --dist loadfile --no-loadscope-reorder

test-slow: .venv/dev-installed
	$(BIN)/python -m pytest -m slow

coverage: .venv/dev-installed
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 3 --dist loadfile --no-loadscope-reorder --cov

gpu: .venv/dev-installed
	CHRONOGRAD_TEST_DEVICE=$(DEVICE) $(BIN)/python -m pytest tests/gpu

lint: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: .venv/dev-installed
	$(BIN)/python -m benchmarks.overhead

docs: .venv/dev-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-serve: .venv/dev-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .[run]
	touch $@

.venv/dev-installed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .[dev]
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
