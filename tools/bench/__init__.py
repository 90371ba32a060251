"""What `make bench` runs: how long the playbooks take, against the same steps by hand and against doing nothing."""
