"""The infrastructure under the real Bicep compiler: `python -m tests.infra`.

The compiler cannot be had from the package registries that `make test` uses, so a workflow runs
this where it can. It lints and formats every file, and evaluates sets of parameters without Azure
(`bicep snapshot`). Uses the standard library only.
"""
