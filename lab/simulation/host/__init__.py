"""What runs on a lab host itself: the simulated hardware's state, its faults and what the host shows of it.

Installed as a package of that host's Python, whose standard library is all it may use.
"""
