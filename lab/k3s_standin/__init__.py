"""Stand-in for the `k3s` binary: k3s's command line, files, tokens and units around the ordinary Kubernetes programs.

These modules travel inside the `k3s` file and run on a lab host: Python 3.9 or later, the standard library and PyYAML. `build` alone
belongs to the machine that makes that file. What is kept of k3s's contract, and what is not, is written in README.md.
"""
