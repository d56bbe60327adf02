# `make up` and `make test` do all the set-up on a fresh machine; the rest is for those who work on the project.
VENV ?= .venv
RUN := $(VENV)/bin

.PHONY: up install test lint models components settings prove-images clean help

help:  ## what there is
	@grep -E '^[a-z%-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 18

up: install  ## install into .venv, start everything, print one URL; Ctrl-C stops all
	@exec $(RUN)/ruminate up

install:  ## install what running needs
	@requirements/install.sh $(VENV)

test: components  ## install what tests need, then run every check and test
	@requirements/install.sh $(VENV) test
	@$(MAKE) --no-print-directory lint
	@tests/run.sh $(RUN)/python

lint:  ## style, types and the arrows between the rooms
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

components:  ## a browser and a Redis server for the tests, where this user may install them
	@tests/install_components.sh

models:  ## make the embedded models again (about an hour on 2 cores)
	$(RUN)/python -m models.make

settings:  ## write the tables of docs/settings.md anew, from the code
	PYTHONPATH=.:tests $(RUN)/python -m support.settings_page

prove-images:  ## build every image with buildah and run the house from them (root, an hour, 60 GB; IMAGES="--help")
	PYTHONPATH=tests $(RUN)/python -m images $(IMAGES)

bench-%:  ## run one benchmark, such as make bench-gateway; its last line is JSON
	$(RUN)/python -m bench.$*

clean:  ## remove the environment and caches; the home folder .ruminate stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
