"""Judges whether a host's GPUs and links are healthy, from the readings of ``gpu_health``. Pure but for ``data``."""
