"""The embedded lab: simulated hosts with real services, one engine for `make lab`, molecule and benchmarks."""
