"""Which versions may meet, and why others may not. Pure: the table arrives as data (``data/compat.yml``)."""
